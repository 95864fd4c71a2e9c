package e2e

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

// TestSysbenchSoak has sysbench work on captured tables: its mixed transactions, and its inserts,
// updates and deletes. Lake and source are compared beside the load, and at its end.
func TestSysbenchSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	if _, err := exec.LookPath("sysbench"); err != nil {
		t.Skip("scripts/install-sysbench.sh installs it: ", err)
	}
	t.Parallel()
	db := pgtest.NewDatabase(t)
	if out, err := sysbench(t.Context(), db, "oltp_read_write", "prepare"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := laketest.New(t, db.URL, allTables, "    commit_interval: 300ms\n    retain_commits: 100")
	run := startRun(t, l)
	awaitAck(t, db, run)
	for _, script := range []string{"oltp_read_write", "oltp_insert", "oltp_update_index", "oltp_update_non_index", "oltp_delete"} {
		var out string
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			out, err = sysbench(t.Context(), db, script, "run")
		}()
		compared(t, l)
		<-done
		if n := transactions.FindStringSubmatch(out); err != nil || n == nil || n[1] == "0" {
			t.Fatalf("%s: %v\n%s", script, err, out)
		} else {
			t.Logf("%s: %s transactions", script, n[1])
		}
		run.check()
	}
	awaitAck(t, db, run)
	t.Log(l.Run(0, "validate"))
	run.stop()
}

var transactions = regexp.MustCompile(`transactions: +(\d+)`)

// sysbench runs one of its scripts on four tables, for 20 seconds where it is a load, and returns
// what it prints.
func sysbench(ctx context.Context, db *pgtest.Database, script, command string) (string, error) {
	u, err := url.Parse(db.URL)
	if err != nil {
		return "", err
	}
	password, _ := u.User.Password()
	out, err := exec.CommandContext(ctx, "sysbench", script, "--db-driver=pgsql", "--pgsql-host="+u.Hostname(), "--pgsql-port="+u.Port(),
		"--pgsql-user="+u.User.Username(), "--pgsql-password="+password, "--pgsql-db="+db.Name,
		"--tables=4", "--table-size=20000", "--threads=4", "--time=20", "--rand-seed=7", command).CombinedOutput()
	return string(out), err
}
