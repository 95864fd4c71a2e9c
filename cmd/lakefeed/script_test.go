package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rogpeppe/go-internal/testscript"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgtest"
	"lakefeed/query"
)

// TestMain makes this binary the lakefeed that the scripts run, and stops the
// shared PostgreSQL at the end.
func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"lakefeed": main})
}

type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return pgtest.Main(w.m) }

// TestScripts runs testdata/script. A script whose name begins with pg_ gets a
// database of its own: URL is its connection string, DB its name and PASSWORD what
// must never be printed. Beside testscript's own commands there are
//
//	code N COMMAND...      the command exits with N
//	until RE COMMAND...    the command is run until its output matches, a minute at most
//	get PATH               asks the server of the pipeline that lake.yaml names
//	sql FILE               runs the file's statements in the database
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no scripts")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testscript.Params{Files: []string{file}, Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"code": code, "until": until, "get": get, "sql": sql, "lsn": lsn,
			}}
			if strings.Contains(name, "query") && !query.Supported {
				ci.Missing(t, "%v", query.ErrNoSQL)
			}
			var db *pgtest.Database
			if strings.HasPrefix(name, "pg_") {
				if testing.Short() {
					t.Skip("needs a few seconds")
				}
				db = pgtest.NewDatabase(t)
			}
			p.Setup = func(e *testscript.Env) error { return setup(e, db) }
			testscript.Run(t, p)
		})
	}
}

func setup(e *testscript.Env, db *pgtest.Database) error {
	golden, err := filepath.Abs("../../hudi/testdata/golden")
	if err != nil {
		return err
	}
	e.Setenv("GOLDEN", golden)
	e.Setenv("IMPORT", filepath.Join(filepath.Dir(golden), "import"))
	if db == nil {
		return nil
	}
	e.Setenv("URL", db.URL)
	e.Setenv("DB", db.Name)
	cfg, err := pgconn.ParseConfig(db.URL)
	if err != nil {
		return err
	}
	e.Setenv("PASSWORD", cfg.Password)
	e.Setenv("PORT", strconv.Itoa(int(cfg.Port)))
	// The pipeline is named like the database: slots belong to the server.
	file := filepath.Join(e.WorkDir, "lake.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(os.Expand(string(text), e.Getenv)), 0o600)
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until RE command...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	limit := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-limit:
			ts.Fatalf("the output never matched %s", want)
		case <-tick.C:
		}
	}
}

var address = regexp.MustCompile(`"address": "([^"]+)"`)

func get(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("lakefeed", "status", "-c", "lake.yaml", "--json"))
	m := address.FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil || len(args) != 1 {
		ts.Fatalf("usage: get PATH, while the pipeline runs")
	}
	resp, err := http.Get("http://" + m[1] + args[0])
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

// lsn sets LSN to where the database's log ends.
func lsn(ts *testscript.TestScript, _ bool, _ []string) {
	ctx := context.Background()
	c, err := pgconn.Connect(ctx, ts.Getenv("URL"))
	ts.Check(err)
	defer c.Close(ctx)
	out, err := c.Exec(ctx, "select pg_current_wal_lsn()").ReadAll()
	ts.Check(err)
	ts.Setenv("LSN", string(out[0].Rows[0][0]))
}

func sql(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	c, err := pgconn.Connect(ctx, ts.Getenv("URL"))
	ts.Check(err)
	defer c.Close(ctx)
	for _, file := range args {
		_, err = c.Exec(ctx, ts.ReadFile(file)).ReadAll()
		ts.Check(err)
	}
}
