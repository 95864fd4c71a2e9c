package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

// The badinput tests give lakefeed what a bad day does: each problem is found by
// `check` where it can be seen beforehand, with the statement that mends it, and
// `run --once` ends with the right exit code and a message that says what, where and
// how out. Where it is one table's problem, the others are in the lake.

// The exit codes of the command line.
const (
	retry = 1 // failed, worth a retry
	usage = 2 // command line or configuration
	found = 3 // a check found something
	final = 4 // failed, a retry will not help
)

// bad is a pipeline on a bad day.
type bad struct {
	*laketest.Lake
	t      *testing.T
	secret string // the password in the URL
	env    []string
	as     func(*exec.Cmd) // changes how it is run; may be nil
}

const allTables = "      - match: public.*"

func newBad(t *testing.T, url, tables, more string) *bad {
	t.Helper()
	return &bad{Lake: laketest.New(t, url, tables, more), t: t, secret: passwordOf(t, url)}
}

func passwordOf(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	return secret
}

// withURL is the connection string with parts changed.
func withURL(t *testing.T, text string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

// run runs a command, which must end with an exit code and say some things, each a
// regular expression; -RE must not be said.
func (b *bad) run(want int, args []string, says ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	return b.finish(b.Command(ctx, args...), args, want, says)
}

// table reads a table of the lake, by its folder.
func (b *bad) table(folder string, says ...string) string {
	b.t.Helper()
	args := []string{"table", "read", filepath.Join(b.Dir, folder)}
	return b.finish(laketest.Command(context.Background(), b.t, args...), args, 0, says)
}

func (b *bad) finish(cmd *exec.Cmd, args []string, want int, says []string) string {
	b.t.Helper()
	cmd.Env = append(os.Environ(), b.env...)
	if b.as != nil {
		b.as(cmd)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // the exit code says it
	text := out.String()
	name := "lakefeed " + strings.Join(args, " ")
	if os.Getenv("LAKEFEED_SHOW") != "" {
		b.t.Logf("%s: %d\n%s", name, cmd.ProcessState.ExitCode(), text)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Errorf("%s: exit code %d, want %d\n%s", name, code, want, text)
	}
	b.says(name, text, says...)
	return text
}

// says fails the test where text lacks one of the regular expressions, has one that
// follows a "-", or what no text may have: a password, a stack trace.
func (b *bad) says(name, text string, says ...string) {
	b.t.Helper()
	var wrong []string
	for _, re := range says {
		re, not := strings.CutPrefix(re, "-")
		switch there := regexp.MustCompile("(?m)" + re).MatchString(text); {
		case there && not:
			wrong = append(wrong, "says "+re)
		case !there && !not:
			wrong = append(wrong, "does not say "+re)
		}
	}
	if len(wrong) > 0 {
		b.t.Errorf("%s\n%s:\n%s", name, strings.Join(wrong, "\n"), text)
	}
	if b.secret != "" && strings.Contains(text, b.secret) {
		b.t.Errorf("%s prints the password\n%s", name, text)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		b.t.Errorf("%s prints a stack trace\n%s", name, text)
	}
}

func (b *bad) check(want int, says ...string) string {
	b.t.Helper()
	return b.run(want, []string{"check"}, says...)
}

func (b *bad) once(want int, says ...string) string {
	b.t.Helper()
	return b.run(want, []string{"run", "--once"}, says...)
}

// well fails the test unless check, a run and a comparison find nothing wrong.
func (b *bad) well() {
	b.t.Helper()
	b.check(0, "ready to run")
	b.once(0)
	b.run(0, []string{"validate"}, "-NOT COMPARED")
}

// mending is the statements that check prints to mend what must be mended.
func mending(checked string) []string {
	var out []string
	mustMend := false
	for line := range strings.Lines(checked) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "> "); !ok {
			mustMend = strings.HasPrefix(line, "error ")
		} else if mustMend {
			out = append(out, s)
		}
	}
	return out
}

// role makes a login on the database's server, and returns its name and the
// connection string with it.
func role(t *testing.T, db *pgtest.Database, options string) (name, conn string) {
	t.Helper()
	name = db.Name + "_role"
	const secret = "hunter2-the-secret"
	db.Exec(t, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s' %s`, name, secret, options))
	t.Cleanup(func() { db.Exec(t, `DROP OWNED BY `+name, `DROP ROLE `+name) })
	return name, withURL(t, db.URL, func(u *url.URL) { u.User = url.UserPassword(name, secret) })
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	t.Run("port", func(t *testing.T) {
		t.Parallel()
		b := newBad(t, "postgres://u:hunter2@127.0.0.1:1/shop", allTables, "")
		b.check(found, `error .*no connection to 127\.0\.0\.1:1 as user u: .*connection refused`)
		b.once(retry, `127\.0\.0\.1.*:1.*connection refused`)
	})
	t.Run("host", func(t *testing.T) {
		t.Parallel()
		b := newBad(t, "postgres://u:hunter2@no-such-host.invalid:5432/shop", allTables, "")
		b.check(found, `error .*no-such-host\.invalid`)
		b.once(retry, `no-such-host\.invalid`)
	})
	t.Run("socket", func(t *testing.T) {
		t.Parallel()
		b := newBad(t, "postgres://u:hunter2@/shop?host=/no/such/folder", allTables, "")
		b.check(found, `error .*/no/such/folder`)
		b.once(retry, `/no/such/folder`)
	})
	t.Run("database", func(t *testing.T) {
		t.Parallel()
		db := pgtest.NewDatabase(t)
		b := newBad(t, withURL(t, db.URL, func(u *url.URL) { u.Path = "/nowhere" }), allTables, "")
		b.check(found, `error .*database "nowhere" does not exist`)
		b.once(final, `database "nowhere" does not exist`)
	})
}

// TestWrongPassword looks for the password in everything that is printed or served.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	wrong := withURL(t, db.URL, func(u *url.URL) { u.User = url.UserPassword("postgres", "hunter2-the-secret") })
	b := newBad(t, wrong, allTables, "")
	says := `does not accept the password of user postgres .*PGPASSWORD`
	b.check(found, `error .*`+says, `> ALTER ROLE "postgres" PASSWORD`)
	b.once(final, says)
	b.run(final, []string{"run"}, says)
	b.run(0, []string{"status"}, says)
	b.run(final, []string{"validate"}, says)

	// Beside a pipeline that runs, its error is served.
	well := newBad(t, db.URL, allTables, "")
	first, err := os.ReadFile(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	well.rewrite("pipelines:\n", string(first))
	out := new(strings.Builder)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := well.Command(ctx, "run", "--listen", "127.0.0.1:0", "--log-level", "debug")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := ""
	await(t, "the server listens", func() bool {
		status := well.Run(0, "status", "--json")
		m := regexp.MustCompile(`"address": "([^"]+)"`).FindStringSubmatch(status)
		if m == nil {
			return false
		}
		address = m[1]
		b.says("status", status)
		return true
	})
	for _, path := range []string{"/status", "/metrics", "/readyz", "/healthz"} {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		b.says(path, string(text))
		well.says(path, string(text))
		if path == "/status" {
			b.says(path, string(text), says)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the first pipeline failed
	b.says("run", out.String(), says)
	well.says("run", out.String())
}

// TestRights has a role that may only log in, and then does what check says.
func TestRights(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t VALUES (1, 'a')`,
		`CREATE SCHEMA s`, `CREATE TABLE s.u (id int PRIMARY KEY)`, `INSERT INTO s.u VALUES (1)`)
	name, conn := role(t, db, "")
	b := newBad(t, conn, `      - match: "*.*"`, "")
	out := b.check(found, `may not read the log`, `> ALTER ROLE "`+name+`" REPLICATION`, `> GRANT CREATE ON DATABASE`,
		`error .*public\.t: role .* may not read it`, `> GRANT SELECT ON "public"\."t" TO`, `> GRANT USAGE ON SCHEMA "s"`, `> GRANT "postgres" TO`)
	b.once(final, `ALTER ROLE "`+name+`" REPLICATION`)
	db.Exec(t, mending(out)...)
	b.well()
}

// TestRightToReplicate and what follows lack one right each.
func TestRightToReplicate(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`)
	name, conn := role(t, db, "")
	db.Exec(t, `GRANT CREATE ON DATABASE `+db.Name+` TO `+name, `ALTER TABLE t OWNER TO `+name)
	b := newBad(t, conn, allTables, "")
	out := b.check(found, `role `+name+` may not read the log`, `1 thing must`)
	b.once(final, `ALTER ROLE.*REPLICATION`)
	db.Exec(t, mending(out)...)
	b.well()
}

func TestRightToPublish(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`)
	name, conn := role(t, db, "REPLICATION")
	db.Exec(t, `ALTER TABLE t OWNER TO `+name)
	b := newBad(t, conn, allTables, "")
	out := b.check(found, `role `+name+` may not create publications`, `1 thing must`)
	b.once(final, `permission denied for database`, "GRANT CREATE ON DATABASE")
	db.Exec(t, mending(out)...)
	b.well()
}

// TestOneTableIsAnothers may neither read nor publish some of the tables: the rest
// goes on.
func TestOneTableIsAnothers(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	name, conn := role(t, db, "REPLICATION")
	db.Exec(t, `CREATE TABLE mine (id int PRIMARY KEY)`, `INSERT INTO mine VALUES (1)`,
		`CREATE TABLE theirs (id int PRIMARY KEY)`, `INSERT INTO theirs VALUES (1)`,
		`CREATE TABLE closed (id int PRIMARY KEY)`, `INSERT INTO closed VALUES (1)`,
		`CREATE TABLE secured (id int PRIMARY KEY)`, `INSERT INTO secured VALUES (1), (2)`,
		`GRANT CREATE ON DATABASE `+db.Name+` TO `+name, `GRANT SELECT ON theirs TO `+name,
		`ALTER TABLE mine OWNER TO `+name, `ALTER TABLE closed OWNER TO `+name, `REVOKE ALL ON closed FROM `+name,
		`ALTER TABLE secured OWNER TO `+name, `ALTER TABLE secured ENABLE ROW LEVEL SECURITY`, `ALTER TABLE secured FORCE ROW LEVEL SECURITY`,
		`CREATE POLICY odd ON secured USING (id % 2 = 1)`)
	b := newBad(t, conn, allTables, "")
	out := b.check(found, `error .*public\.theirs.* may not publish it: only its owner, postgres, may`,
		`error .*public\.closed: role .* may not read it`, `error .*row security hides rows of public\.secured|error .*public\.secured: row security`, `> ALTER ROLE "`+name+`" BYPASSRLS`, "-public.mine:")
	for range 2 {
		b.once(final, `public\.mine +streaming`, `table public\.theirs: .*owner`, `table public\.closed: .*permission denied`, `table public\.secured: .*row-level security`,
			`GRANT "postgres" TO`, `GRANT SELECT ON "public"\."closed" TO`, `ALTER ROLE .* BYPASSRLS`)
	}
	if got := db.Query(t, `SELECT count(*) FROM pg_replication_slots WHERE database = '`+db.Name+`'`)[0][0]; got != "1" {
		t.Errorf("%s slots", got)
	}
	db.Exec(t, `INSERT INTO mine VALUES (2)`)
	db.Exec(t, mending(out)...)
	b.well()
}
