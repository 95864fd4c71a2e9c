package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/ci"
	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgserver"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
)

// TestRegressLong runs a part of PostgreSQL's own regression suite against a captured database.
func TestRegressLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	regress(t, regression{files: `^(test_setup|insert_conflict|identity|replica_identity|fast_default)$`, limit: 3 * time.Minute, tables: 30})
}

// TestRegressSoak runs the whole of it.
func TestRegressSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	regress(t, regression{limit: 30 * time.Minute, tables: 300})
}

// TestRegressSlowSoak runs the whole of it from afar, so that lakefeed takes in tables that the suite
// still works on: most of what is done to them goes through the stream.
func TestRegressSlowSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	regress(t, regression{limit: 60 * time.Minute, delay: 15 * time.Millisecond, keys: "    types: {out_of_range: quarantine}\n", tables: 300})
}

// regression is a way to run the suite.
type regression struct {
	files  string        // those to run, a regular expression
	delay  time.Duration // before each statement
	keys   string        // of the pipeline
	tables int           // that must be equal at least
	limit  time.Duration
}

// regress runs files of the suite in the order of its schedule while lakefeed captures every table of
// the database. No statement of the suite fails for that. Afterwards each table equals its twin in
// the lake, or is refused by name and with a reason.
func regress(t *testing.T, r regression) {
	t.Helper()
	s := newSuite(t)
	srv := pgtest.Start(t, pgtest.Options{Version: s.major})
	db := s.database(t, srv)
	db.Exec(t, "CREATE SCHEMA lakefeed_test", "CREATE TABLE lakefeed_test.before (id int PRIMARY KEY)") // a pipeline without a table is refused
	l := laketest.New(t, db.URL, "      - match: \"*.*\"", "    commit_interval: 300ms\n    retain_commits: 100\n"+r.keys)
	run := startRun(t, l)
	awaitAck(t, db, run)
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), r.limit)
	defer cancel()
	s.run(ctx, t, srv, r)
	run.check()
	took := time.Since(began)
	db.Exec(t, "CREATE TABLE lakefeed_test.after (id int PRIMARY KEY)")
	settle(ctx, t, l, run)
	awaitAck(t, db, run)
	t.Logf("the suite took %s; the lake was in step %s later", took.Round(time.Second), (time.Since(began) - took).Round(time.Second))
	judge(t, l, r.tables)
	s.unnoticed(t)
	if code := exitCode(run.end()); code != 0 && code != final { // final: tables are refused
		t.Errorf("lakefeed run: exit code %d\n%s", code, run.out.String())
	}
	if out := run.out.String(); strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
		t.Errorf("lakefeed prints a stack trace:\n%s", out)
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// suite is PostgreSQL's regression suite, as scripts/install-regress.sh puts it.
type suite struct {
	dir, out string
	major    int
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	s := &suite{dir: filepath.Join(pgserver.CacheDir(), "regress")}
	text, err := os.ReadFile(filepath.Join(s.dir, "major"))
	if err == nil {
		s.major, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		ci.Missing(t, "PostgreSQL's regression suite is not there (scripts/install-regress.sh fetches it): %v", err)
	}
	// Where the server puts files and the driver its results: not t.TempDir, which the server's user may not enter.
	if s.out, err = os.MkdirTemp("", "lakefeed-regress-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.out) })
	for _, dir := range []string{s.out, filepath.Join(s.out, "results")} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// database makes the suite's database as its driver makes it.
func (s *suite) database(t *testing.T, srv *pgtest.Server) *pgtest.Database {
	t.Helper()
	db := &pgtest.Database{Server: srv, Name: "regression", URL: srv.URL("regression")}
	srv.Exec(t, "CREATE DATABASE regression TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	for _, set := range []string{"lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'"} {
		srv.Exec(t, "ALTER DATABASE regression SET "+set)
	}
	return db
}

// run runs the files. That results are not as expected is no matter here: see unnoticed.
func (s *suite) run(ctx context.Context, t *testing.T, srv *pgtest.Server, r regression) {
	t.Helper()
	schedule := filepath.Join(s.out, "schedule")
	if err := os.WriteFile(schedule, s.schedule(t, regexp.MustCompile(r.files)), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port := srv.SocketDir(), strconv.Itoa(srv.Port())
	if r.delay > 0 {
		proxy, afar := pgtest.NewProxy(t, srv.URL("regression"))
		proxy.Delay(r.delay)
		u, err := url.Parse(afar)
		if err != nil {
			t.Fatal(err)
		}
		host, port = u.Hostname(), u.Port()
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "pg_regress"), "--use-existing", "--inputdir="+s.dir, "--outputdir="+s.out,
		"--bindir="+filepath.Join(s.dir, "bin"), "--dlpath="+filepath.Join(s.dir, "lib"), "--schedule="+schedule, "--dbname=regression",
		"--host="+host, "--port="+port, "--user=postgres", "--max-connections=20")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGPASSWORD="+passwordOf(t, srv.URL("regression")))
	out, err := cmd.CombinedOutput()
	if code := exitCode(err); code != 0 && code != 1 { // 1: some results are not as expected
		t.Fatalf("pg_regress: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// schedule is the suite's, of the files that are wanted.
func (s *suite) schedule(t *testing.T, wanted *regexp.Regexp) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "parallel_schedule"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		tests, ok := strings.CutPrefix(line, "test:")
		if !ok {
			continue
		}
		if group := slices.DeleteFunc(strings.Fields(tests), func(f string) bool { return !wanted.MatchString(f) }); len(group) > 0 {
			fmt.Fprintf(&out, "test: %s\n", strings.Join(group, " "))
		}
	}
	return out.Bytes()
}

// settle waits until no table is about to be taken in or copied. Whoever has seen the table that was
// made last has seen all others.
func settle(ctx context.Context, t *testing.T, l *laketest.Lake, run *run) {
	t.Helper()
	for calm := 0; calm < 3; {
		busy := "the newest table is not seen yet"
		tables := statusOf(t, l).Tables
		if slices.ContainsFunc(tables, func(s pipeline.TableStatus) bool { return s.Table == "lakefeed_test.after" }) {
			busy = ""
		}
		for _, s := range tables {
			if s.State == pipeline.Waiting || s.State == pipeline.Copying {
				busy = s.Table + " is " + string(s.State) + " " + s.Note
			}
		}
		if calm++; busy != "" {
			calm = 0
		}
		run.check()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatal("it takes too long: " + busy)
		}
	}
}

func statusOf(t *testing.T, l *laketest.Lake) pipeline.Status {
	t.Helper()
	var all []pipeline.Status
	text := l.Run(0, "status", "--json")
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("status --json: %v\n%s", err, text)
	}
	return all[0]
}

// refusals are why a table may be refused.
var refusals = regexp.MustCompile(`has no decimal|behind the point|more digits than decimal|is no date|the year is outside 1 to 9999|` +
	`every row was written anew|was renamed|belongs to another table|was dropped and added again|the key of .* is no longer`)

// judge compares every table with the lake: least are equal, and the others are refused by name, for
// one of the reasons that there may be. Updates and deletes do not reach a table without a key, so
// that it may differ.
func judge(t *testing.T, l *laketest.Lake, least int) {
	t.Helper()
	refused := map[string]string{}
	for _, s := range statusOf(t, l).Tables {
		refused[s.Table] = s.Error
	}
	_, text := l.Exit("validate", "--json")
	var reports []struct {
		Tables []pipeline.TableReport `json:"tables"`
	}
	if err := json.NewDecoder(strings.NewReader(text[max(0, strings.Index(text, "[")):])).Decode(&reports); err != nil || len(reports) != 1 {
		t.Fatalf("validate --json: %v\n%s", err, text)
	}
	equal, keyed, updated, rows := 0, 0, 0, int64(0)
	for _, r := range reports[0].Tables {
		switch why := refused[r.Table]; {
		case r.OK():
			equal, rows = equal+1, rows+r.SourceRows
			if !r.AppendOnly {
				keyed++
			}
		case why == "" && r.Error == "" && r.AppendOnly:
			updated++
		case why == "" || !refusals.MatchString(why):
			t.Errorf("%s is neither equal nor refused for a reason that there may be (%q): %s%+v", r.Table, why, r.Error, r)
		default:
			t.Logf("%s is refused: %s", r.Table, why)
		}
	}
	t.Logf("%d of %d tables are equal, %d of them by key, with %d rows; %d without a key were updated", equal, len(reports[0].Tables), keyed, rows, updated)
	if equal < least || keyed == 0 {
		t.Errorf("only %d tables are equal, %d by key", equal, keyed)
	}
}

// unnoticed fails the test where a statement of the suite failed that should not have.
func (s *suite) unnoticed(t *testing.T) {
	t.Helper()
	diffs, err := os.ReadFile(filepath.Join(s.out, "regression.diffs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	file := ""
	for line := range strings.Lines(string(diffs)) {
		if name, ok := strings.CutPrefix(line, "+++ "); ok {
			file = filepath.Base(strings.Fields(name)[0])
		}
		// A view of alter_table.sql takes it that nobody waits for the end of its transaction, as whoever makes a slot does.
		if strings.HasPrefix(line, "+ERROR:") && file != "alter_table.out" {
			t.Errorf("%s: %s", file, line)
		}
	}
}
