// Package pgtest gives tests a private PostgreSQL. Most tests take a database of
// their own on a server that the test binary shares:
//
//	db := pgtest.NewDatabase(t)
//	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
//	connect(db.URL)
//
// A test that stops the server or changes its settings starts one: [Start].
// Replication slots belong to the server, not to a database: name them after the
// database, whose name is unique ([Database.Slot]).
//
// A package that uses [Shared] or [NewDatabase] should have
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// so that the shared servers' folders go away; what a killed test left is
// removed by the next one.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

// Options are those of pgserver; the zero value is PostgreSQL 15 with wal_level=logical.
type Options = pgserver.Options

// Server is a private PostgreSQL that ends with its test.
type Server struct {
	*pgserver.Server
}

// Start runs a new server that t.Cleanup stops and removes. A version that is not
// installed skips the test, or fails it where the variable CI is set.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s, dir := launch(t, opts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("PostgreSQL's log ends with:\n%s", tail(s.LogFile()))
		}
		if err := s.Stop("immediate"); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return s
}

// Standby makes and starts a physical standby of the server, which ends with the test. A
// PostgreSQL without pg_basebackup skips the test.
func (s *Server) Standby(t testing.TB, conf map[string]string) *Server {
	t.Helper()
	if _, err := os.Stat(s.Bin("pg_basebackup")); err != nil {
		t.Skip(err)
	}
	dir, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	standby, err := pgserver.NewStandby(context.Background(), s.Server, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the standby's log ends with:\n%s", tail(standby.LogFile()))
		}
		if err := standby.Stop("immediate"); err != nil {
			t.Error(err)
		}
	})
	return &Server{standby}
}

var shared = struct {
	sync.Mutex
	servers map[int]*Server
	dirs    []string
}{servers: map[int]*Server{}}

// Shared returns the server of a major version (0: the default one) that all
// tests of this binary use. Nobody may stop it.
func Shared(t testing.TB, version int) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if s := shared.servers[version]; s != nil {
		return s
	}
	s, dir := launch(t, Options{Version: version})
	shared.servers[version] = s
	shared.dirs = append(shared.dirs, dir)
	return s
}

// Main runs a package's tests and then stops the shared servers. It returns the
// exit code.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, s := range shared.servers {
		_ = s.Stop("immediate") // the folder goes away below
	}
	for _, dir := range shared.dirs {
		os.RemoveAll(dir)
	}
	return code
}

// Versions lists the major versions that are installed, the oldest first. Where
// the variable CI is set, the test fails unless 15 to 18 are.
func Versions(t testing.TB) []int {
	t.Helper()
	var out []int
	for _, b := range pgserver.Installed() {
		out = append(out, b.Version)
	}
	if os.Getenv("CI") != "" {
		for v := 15; v <= 18; v++ {
			if _, err := pgserver.Find(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func launch(t testing.TB, opts Options) (*Server, string) {
	t.Helper()
	sweep()
	dir, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	s, err := pgserver.New(context.Background(), dir, opts)
	if err != nil {
		os.RemoveAll(dir)
		if errors.Is(err, pgserver.ErrNotInstalled) {
			ci.Missing(t, "%v", err)
		}
		t.Fatal(err)
	}
	return &Server{s}, dir
}

// Database is a database of one test.
type Database struct {
	Server *Server
	Name   string
	URL    string
}

var databases atomic.Int64

// NewDatabase makes an empty database on the shared server of the default
// version; t.Cleanup drops it with its replication slots.
func NewDatabase(t testing.TB) *Database {
	t.Helper()
	return Shared(t, 0).NewDatabase(t)
}

// NewDatabase makes an empty database that t.Cleanup drops with its replication slots.
func (s *Server) NewDatabase(t testing.TB) *Database {
	t.Helper()
	d := &Database{Server: s, Name: fmt.Sprintf("test_%d", databases.Add(1))}
	d.URL = s.URL(d.Name)
	s.Exec(t, "CREATE DATABASE "+d.Name+" STRATEGY FILE_COPY") // which writes little log, that all who read the log would have to read
	t.Cleanup(func() {
		if s.PID() == 0 {
			return // stopped by its test
		}
		closeSessions(context.Background(), d.URL)
		s.Exec(t,
			`SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE database = '`+d.Name+`' AND active`,
			`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '`+d.Name+`'`,
			`DROP DATABASE IF EXISTS `+d.Name+` WITH (FORCE)`)
	})
	return d
}

// Slot is a name for a replication slot that no other test uses.
func (d *Database) Slot(name string) string { return d.Name + "_" + name }

// Exec runs statements one after another, each in its own transaction.
func (d *Database) Exec(t testing.TB, sql ...string) {
	t.Helper()
	run(t, d.URL, sql)
}

// Query returns a statement's rows as PostgreSQL prints them; NULL is "NULL".
func (d *Database) Query(t testing.TB, sql string) [][]string {
	t.Helper()
	return query(t, d.URL, sql)
}

// Conn opens a connection that t.Cleanup closes.
func (d *Database) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), d.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// Exec runs statements in the database postgres, each in its own transaction.
func (s *Server) Exec(t testing.TB, sql ...string) {
	t.Helper()
	run(t, s.URL("postgres"), sql)
}

// Query returns the rows of a statement in the database postgres, as text.
func (s *Server) Query(t testing.TB, sql string) [][]string {
	t.Helper()
	return query(t, s.URL("postgres"), sql)
}

func run(t testing.TB, url string, sql []string) {
	t.Helper()
	for _, q := range sql {
		query(t, url, q)
	}
}

func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
