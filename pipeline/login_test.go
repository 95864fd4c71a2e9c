package pipeline_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
)

// TestPasswordChanges: a pipeline that runs outlives that its password is changed under it, before the
// passfile has the new one.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	const role = "feed_of_passfile"
	t.Cleanup(func() { pgtest.Shared(t, 0).Exec(t, "drop role if exists "+role) }) // when nothing is its own any more
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	passfile := filepath.Join(t.TempDir(), "passfile")
	change := func(password string) {
		if err := os.WriteFile(passfile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.db.Exec(t, "create role "+role+" superuser login password 'old'")
	change("old")
	u, err := url.Parse(r.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Host = url.User(role), fmt.Sprintf("127.0.0.1:%d", r.db.Server.Port())
	q := u.Query()
	q.Set("passfile", passfile)
	u.RawQuery = q.Encode()
	r.url = u.String()
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter role "+role+" password 'new'", "insert into t values (2, 'b')",
		"select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = '"+role+"'")
	r.await("it is refused", func() bool { return strings.Contains(run.Status().Error, "does not accept the password") })
	change("new")
	r.db.Exec(t, "insert into t values (3, 'c')")
	r.await("it goes on", func() bool { return r.column("t", "id") == "1 2 3" })
	run.stop()
}
