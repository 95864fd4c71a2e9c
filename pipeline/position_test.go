package pipeline_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/internal/pgtest"
	"lakefeed/storage"
)

// A source whose log is not the one that the lake was made from is refused, with
// the way out: going on would lose or double changes.

const schemaT = "create table t (id int primary key, v text)"

func TestSlotMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.drain()
	known := r.recorded()
	r.db.Exec(t, "insert into t values (2, 'lost')")
	r.advanceSlot("pg_current_wal_lsn()")
	moved := r.confirmed()
	r.refused(r.once(), r.slot(), known.String(), moved.String(), "empty lake folder")
	r.refused(r.start().await(), r.slot())
	if got := r.column("t", "id"); got != "1" {
		t.Errorf("the lake holds %s", got)
	}
}

// TestSlotMovedPastOneTable moves the slot past what a stopped table has, but not
// past the newest commit of another.
func TestSlotMovedPastOneTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table stopped (id int primary key, n numeric(5,2))")
	r.drain()
	r.db.Exec(t, "insert into stopped values (1, 'NaN')", "insert into t values (1, 'a')")
	r.says(r.once(), "stopped", "NaN")
	r.db.Exec(t, "insert into stopped values (2, 1)")
	moved := r.lsn("select pg_current_wal_lsn()")
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.says(r.once(), "stopped", "NaN")
	r.advanceSlot("'" + moved.String() + "'")
	r.refused(r.once(), r.slot())
}

// TestCommitTakenBack rolls back what the source has forgotten, as Spark can.
func TestCommitTakenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)")
	r.drain()
	r.db.Exec(t, "insert into t values (1, 'a')")
	r.drain()
	lake := storage.Sub(r.lake, "public/t")
	table, err := hudi.Open(t.Context(), lake, hudi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	newest, _ := table.Timeline().Last()
	for _, state := range []string{"", ".inflight", ".requested"} {
		if err := lake.Delete(t.Context(), ".hoodie/"+newest.Time+".deltacommit"+state); err != nil {
			t.Fatal(err)
		}
	}
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
	r.says(r.once(), "public.t", "rolled", "copied anew")
	if got := r.column("other", "id"); got != "1" {
		t.Errorf("the other table holds %s", got)
	}
	r.says(r.once(), "public.t", "copied anew")
	if err := lake.DeleteAll(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.equal(nil)
}

// TestNewestTableLeaves drops, in the source, the table whose commit was the last:
// that is no slot that was moved.
func TestNewestTableLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table gone (id int primary key)")
	r.drain()
	r.db.Exec(t, "insert into gone values (1)")
	r.drain()
	r.db.Exec(t, "drop table gone")
	r.drain()
	r.equal(nil)
}

func TestSlotDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	r.dropSlot()
	r.db.Exec(t, "insert into t values (2, 'lost')")
	r.refused(r.once(), r.slot(), "gone", "empty lake folder")
}

func TestSlotMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	r.dropSlot()
	r.db.Exec(t, "insert into t values (2, 'lost')",
		"select pg_create_logical_replication_slot('"+r.slot()+"', 'pgoutput')")
	r.refused(r.once(), r.slot(), r.confirmed().String(), "empty lake folder")
}

func TestSlotBeforeFirstRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.db.Exec(t, "select pg_create_logical_replication_slot('"+r.slot()+"', 'pgoutput')")
	err := r.once()
	r.refused(err, r.slot(), "knows nothing of it")
	_, statement, ok := strings.Cut(err.Error(), ": ")
	if !ok || !strings.HasPrefix(statement, "select pg_drop_replication_slot") {
		t.Fatalf("no statement to run in %q", err)
	}
	r.db.Exec(t, statement)
	r.drain()
	r.equal(nil)
}

func TestSlotOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	other := newRig(t)
	r.dropSlot()
	other.db.Exec(t, "select pg_create_logical_replication_slot('"+r.slot()+"', 'pgoutput')")
	r.refused(r.once(), r.slot(), other.db.Name)
}

func TestSlotOfAnotherPlugin(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.db.Exec(t, "select pg_create_logical_replication_slot('"+r.slot()+"', 'test_decoding')")
	r.refused(r.once(), r.slot())
	r.dropSlot()
	r.drain()
	r.dropSlot()
	r.db.Exec(t, "select pg_create_physical_replication_slot('"+r.slot()+"', true)")
	r.refused(r.once(), r.slot())
	r.dropSlot()
}

// TestAnotherServer has the same database, tables and slot on another server, as
// after a restore from a dump.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	server := pgtest.Start(t, pgtest.Options{})
	db := *r.db
	db.Server, db.URL = server, server.URL(db.Name)
	server.Exec(t, "create database "+db.Name)
	other := newRigOn(t, &db, schemaT)
	other.drain() // into a lake of its own
	other.lake = r.lake
	other.refused(other.once(), "system identifier", "restored")
}

// TestRestoredCopy puts a file copy of the whole server back, slot and system
// identifier included: only the log's end tells.
func TestRestoredCopy(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	r := newRigOn(t, server.NewDatabase(t), schemaT)
	r.drain()
	data := server.DataDir()
	cycle := func(cmd string, args ...string) {
		t.Helper()
		if err := server.Stop("fast"); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), cmd, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	backup := filepath.Join(filepath.Dir(data), "backup")
	cycle("cp", "-a", data, backup)
	r.db.Exec(t, "insert into t select i, repeat('x', 100) from generate_series(1, 5000) i")
	r.drain()
	cycle("sh", "-c", "rm -r "+data+" && mv "+backup+" "+data)
	r.db.Exec(t, "insert into t values (10, 'after the restore')")
	r.refused(r.once(), "restored")
}
