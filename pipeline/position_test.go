package pipeline_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
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

// TestSlotMovedPastOneTable moves the slot past what the lake has of one table, while
// another has stopped.
func TestSlotMovedPastOneTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table stopped (id int primary key, n numeric(5,2))")
	r.drain()
	r.db.Exec(t, "insert into stopped values (1, 'NaN')", "insert into t values (1, 'a')")
	r.says(r.once(), "stopped", "NaN")
	r.db.Exec(t, "insert into stopped values (2, 1)")
	r.says(r.once(), "stopped", "NaN")
	r.db.Exec(t, "insert into t values (2, 'b')")
	moved := r.lsn("select pg_current_wal_lsn()")
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

// TestAnotherServerLong has the same database, tables and slot on another server, as
// after a restore from a dump.
func TestAnotherServerLong(t *testing.T) {
	long.Test(t)
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

// copied is a server of which a file copy can be made and put back, slot and system
// identifier included.
type copied struct {
	*pgtest.Server
	t *testing.T
}

func (c copied) backup() string { return filepath.Join(filepath.Dir(c.DataDir()), "backup") }

// stopped runs a command while the server is down.
func (c copied) stopped(cmd string, args ...string) {
	c.t.Helper()
	if err := c.Stop("fast"); err != nil {
		c.t.Fatal(err)
	}
	c.run(cmd, args...)
	if err := c.Start(); err != nil {
		c.t.Fatal(err)
	}
}

func (c copied) run(cmd string, args ...string) {
	c.t.Helper()
	if out, err := exec.CommandContext(c.t.Context(), cmd, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

func (c copied) save() { c.t.Helper(); c.stopped("cp", "-a", c.DataDir(), c.backup()) }

func (c copied) restore() {
	c.t.Helper()
	c.stopped("sh", "-c", "rm -r "+c.DataDir()+" && mv "+c.backup()+" "+c.DataDir())
}

// TestRestoredCopyLong puts a file copy of the whole server back: only the log's end
// tells, and once that has passed the lake's position, only what is in the log.
func TestRestoredCopyLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	server := copied{pgtest.Start(t, pgtest.Options{}), t}
	r := newRigOn(t, server.NewDatabase(t), schemaT)
	r.drain()
	server.save()
	r.db.Exec(t, "insert into t select i, repeat('x', 100) from generate_series(1, 5000) i")
	r.drain()
	held := r.recorded()
	server.restore()
	r.db.Exec(t, "insert into t values (10, 'after the restore')")
	r.refused(r.once(), "restored")
	r.db.Exec(t, "insert into t select i, repeat('y', 100) from generate_series(1000, 20000) i")
	if end := r.lsn("select pg_current_wal_lsn()"); end <= held {
		t.Fatalf("the log ends at %s, the lake holds up to %s", end, held)
	}
	for range 2 { // it stays so
		r.refused(r.once(), "does not hold transaction", "restored", "empty lake folder")
	}
}

// TestRestoredCopyWithoutLossLong puts a copy back that has all that the lake has, while
// the lake's position, by the log of other databases, is further on: that is none to
// refuse, and what comes then within that stretch of the log is taken.
func TestRestoredCopyWithoutLossLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	server := copied{pgtest.Start(t, pgtest.Options{}), t}
	r := newRigOn(t, server.NewDatabase(t), schemaT, "insert into t values (1, 'a')")
	other := server.NewDatabase(t)
	other.Exec(t, "create table noise (v text)")
	noise := func() { other.Exec(t, "insert into noise select repeat('n', 1000) from generate_series(1, 2000)") }
	r.drain()
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.drain()
	source := r.quiet()
	run := r.start(func(o *options) { o.Source = source })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	follow := func() { // the position follows what only the other database writes
		t.Helper()
		noise()
		at := r.lsn("select pg_current_wal_lsn()")
		r.await("acknowledged", func() bool { return r.confirmed() >= at })
	}
	follow()
	r.db.Exec(t, "checkpoint")
	server.run("cp", "-a", server.DataDir(), server.backup()) // nothing writes
	server.run("rm", filepath.Join(server.backup(), "postmaster.pid"))
	follow()
	run.stop()
	r.close(source)
	r.freeSlot()
	held := r.recorded()
	server.restore()
	r.db.Exec(t, "insert into t values (3, 'c')", "update t set v = 'd' where id = 2")
	if at := r.lsn("select pg_current_wal_lsn()"); at >= held {
		t.Fatalf("the log ends at %s, the lake says that it holds up to %s", at, held)
	}
	noise()
	noise()
	r.drain()
	if got := strings.Fields(r.column("t", "v")); len(got) != 3 || !slices.Contains(got, "d") {
		t.Errorf("the lake holds %q", got)
	}
	r.equal(nil)
}

// TestHeartbeatsFreeTheLog has a database at rest beside one that writes: its slot moves past what
// the other wrote, and what is written into tables that are not followed, and the server may throw that away.
func TestHeartbeatsFreeTheLog(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	busy := server.NewDatabase(t)
	r := newRigOn(t, server.NewDatabase(t), schemaT, "insert into t values (1, 'a')", "create table left_out (v text)")
	r.skip["left_out"] = true
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for what, db := range map[string]*pgtest.Database{"another database": busy, "a table that is left out": r.db} {
		before := r.lsn("select pg_current_wal_lsn()")
		db.Exec(t, "create table if not exists left_out (v text)", "insert into left_out select repeat('x', 1000) from generate_series(1, 3000)")
		end := r.lsn("select pg_current_wal_lsn()")
		if end < before+1<<20 {
			t.Fatalf("%s wrote %d bytes", what, end-before)
		}
		r.await("the slot passes what was written by "+what, func() bool {
			// The log is kept from where the server last noted what runs, which it does by itself every 15 seconds, and at a checkpoint.
			r.db.Exec(t, "checkpoint")
			return r.confirmed() >= end && r.lsn("select restart_lsn from pg_replication_slots where slot_name = '"+r.slot()+"'") >= end
		})
	}
	if got := r.column("t", "id"); got != "1" {
		t.Errorf("the lake holds %s", got)
	}
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.equal(run)
}
