package pgtest_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestNewDatabase(t *testing.T) {
	var name string
	t.Run("use", func(t *testing.T) {
		db := pgtest.NewDatabase(t)
		name = db.Name
		db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, NULL), (2, 'b')")
		if got := db.Query(t, "SELECT * FROM t ORDER BY id"); len(got) != 2 || got[0][1] != "NULL" || got[1][1] != "b" {
			t.Errorf("rows = %v", got)
		}
		db.Exec(t, "SELECT pg_create_logical_replication_slot('"+db.Slot("s")+"', 'pgoutput')")
	})
	s := pgtest.Shared(t, 0)
	if got := s.Query(t, "SELECT datname FROM pg_database WHERE datname = '"+name+"'"); len(got) != 0 {
		t.Errorf("the database of an ended test is still there")
	}
	if got := s.Query(t, "SELECT slot_name FROM pg_replication_slots"); len(got) != 0 {
		t.Errorf("slots are still there: %v", got)
	}
}

func TestStopAndStart(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{Conf: map[string]string{"max_connections": "33"}})
	s.Exec(t, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
	for _, mode := range []string{"immediate", "fast", "kill"} {
		if err := s.Stop(mode); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatalf("after %s: %v", mode, err)
		}
		if got := s.Query(t, "SELECT count(*) FROM t")[0][0]; got != "1" {
			t.Errorf("after %s: %s rows", mode, got)
		}
	}
	if got := s.Query(t, "SHOW max_connections")[0][0]; got != "33" {
		t.Errorf("max_connections = %s", got)
	}
	if err := s.Stop("slowly"); err == nil {
		t.Error("an unknown mode was taken")
	}
}

func TestVersions(t *testing.T) {
	versions := pgtest.Versions(t)
	if testing.Short() {
		t.Skip("starts each installed version")
	}
	for _, v := range versions {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			s := pgtest.Start(t, pgtest.Options{Version: v})
			if got := s.Query(t, "SHOW server_version")[0][0]; !strings.HasPrefix(got, strconv.Itoa(v)) {
				t.Errorf("version %d says %s", v, got)
			}
			s.Exec(t, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
		})
	}
}
