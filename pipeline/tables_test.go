package pipeline_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// A table that cannot go on stops alone, says why, and goes on once that is mended.

// stopped fails the test unless err is that one table stopped, for a reason with these words.
func (r *rig) stopped(err error, table string, words ...string) {
	r.t.Helper()
	var failed *pipeline.TableError
	if !errors.As(err, &failed) || failed.Table != table {
		r.t.Fatalf("want that %s stopped, got %v", table, err)
	}
	r.says(err, words...)
}

// forget removes a table's folder from the lake: the way to have it copied anew.
func (r *rig) forget(table string) {
	r.t.Helper()
	if err := r.lake.DeleteAll(r.t.Context(), "public/"+table); err != nil {
		r.t.Fatal(err)
	}
}

// files is the names and contents of a folder of the lake.
func (r *rig) files(folder string) string {
	r.t.Helper()
	var out strings.Builder
	for info, err := range r.lake.List(r.t.Context(), folder, true) {
		if err != nil {
			r.t.Fatal(err)
		}
		b, _, err := r.lake.Get(r.t.Context(), info.Name)
		if err != nil {
			r.t.Fatal(err)
		}
		out.WriteString(info.Name + "\n" + string(b) + "\n")
	}
	return out.String()
}

func TestTableLeftOutLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	r.drain()
	r.skip["t"] = true
	r.db.Exec(t, "insert into t values (2, 'not heard of')", "insert into other values (1)")
	r.drain()
	r.skip["t"] = false
	for run := range 2 { // it stays so
		r.db.Exec(t, "insert into t values (3, 'c') on conflict do nothing", "insert into other values ("+string(rune('2'+run))+")")
		r.stopped(r.once(), "public.t", "was not among", "copied anew")
		if got := r.column("t", "id"); got != "1" {
			t.Errorf("the lake holds %s", got)
		}
	}
	if got := r.column("other", "id"); got != "1 2 3" {
		t.Errorf("the other table holds %s", got)
	}
	end := r.lsn("select pg_current_wal_lsn()")
	_ = r.once()
	if got := r.recorded(); got < end {
		t.Errorf("the source keeps its log from %s for a table that only a new copy helps; it ended at %s", got, end)
	}
	r.forget("t")
	r.drain()
	r.equal(nil)
}

func TestCopyInterruptedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "create table small (id int primary key)", "insert into small values (1)",
		"insert into t select i, repeat('x', 1000) from generate_series(1, 60000) i")
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var p *pipeline.Pipeline
		var c *postgres.Connector
		p, c = r.pipeline(func(o *options) {
			o.OnPhase = func(phase string) {
				if phase == "marker" && slices.ContainsFunc(p.Status().Tables, func(s pipeline.TableStatus) bool {
					return s.Table == "public.t" && s.State == pipeline.Copying
				}) {
					cancel()
				}
			}
		})
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		r.close(c)
		if got := r.column("t", "id"); got != "" && got != "?" {
			t.Fatalf("readers see %d bytes of half a copy", len(got))
		}
		r.db.Exec(t, "update t set v = 'changed' where id % 100 = 0", "delete from t where id = (select min(id) from t)")
	}
	r.drain()
	r.equal(nil)
}

// TestCopyCleanUpInterruptedLong dies at every step of removing what an interrupted
// copy left.
func TestCopyCleanUpInterruptedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "insert into t select i, 'x' from generate_series(1, 100) i")
	inner := r.lake
	for at := 1; ; at++ {
		faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: storagetest.Partly, Dead: true, Only: func(c storagetest.Call) bool {
			return strings.HasPrefix(c.Name, "public/t")
		}})
		r.lake = faulty
		err := r.once()
		r.lake = inner
		if !faulty.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the copy, from what another left, makes %d calls", at-1)
			break
		}
	}
	r.equal(nil)
}

func TestNewTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.drain()
	r.db.Exec(t, "create table later (id int primary key, v text)", "insert into t values (2, 'b')",
		"insert into later select i, 'first' from generate_series(1, 1000) i")
	run := r.start()
	r.await("later is copied", func() bool { return run.table("public.later").State == pipeline.Streaming })
	r.db.Exec(t, "update later set v = 'second' where id < 500", "insert into t values (3, 'c')")
	r.equal(run)
	run.stop()
	r.equal(nil)
}

func TestValueStopsOneTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table bad (id int primary key, n numeric(5,2))", "insert into bad values (1, 1.5)")
	run := r.start()
	r.await("the tables are copied", func() bool { return run.table("public.bad").State == pipeline.Streaming })
	r.db.Exec(t, "insert into bad values (2, 2.5)", "insert into t values (1, 'a')")
	r.equal(run)
	r.db.Exec(t, "insert into bad values (3, 'NaN')")
	r.await("bad has stopped", func() bool { return run.table("public.bad").State == pipeline.Failed })
	for _, word := range []string{"NaN", "n"} {
		if s := run.table("public.bad"); !strings.Contains(s.Error, word) {
			t.Errorf("the status says %q, want %q", s.Error, word)
		}
	}
	_, text, _ := strings.Cut(run.table("public.bad").Error, "committed from ")
	text, _, _ = strings.Cut(text, " ")
	since, err := change.ParseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	r.db.Exec(t, "insert into bad values (4, 4)", "insert into t values (2, 'b')")
	r.await("the other table goes on", func() bool { return r.column("t", "id") == "1 2" })
	r.await("the source may forget it", func() bool { return r.confirmed() > since })
	run.stop()

	// Mending the row does not help by itself: the log of before is gone.
	r.db.Exec(t, "update bad set n = 3 where id = 3", "insert into t values (3, 'c')")
	err = r.once()
	r.stopped(err, "public.bad", "NaN")
	if got := r.column("bad", "id"); got != "1 2" {
		t.Errorf("bad holds %s", got)
	}
	if got := r.column("t", "id"); got != "1 2 3" {
		t.Errorf("t holds %s", got)
	}
	r.says(err, "copied anew")
	r.forget("bad")
	r.drain()
	r.equal(nil)
}

// TestValueStopsOneCopy has the value in the first copy: the table has nothing that
// the source's log would have to be kept for.
func TestValueStopsOneCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table bad (id int primary key, n numeric(5,2))", "insert into bad values (1, 'NaN')", "insert into t values (1, 'a')")
	r.stopped(r.once(), "public.bad", "NaN")
	r.db.Exec(t, "insert into t values (2, 'b')")
	end := r.lsn("select pg_current_wal_lsn()")
	r.stopped(r.once(), "public.bad", "NaN")
	if got := r.recorded(); got < end {
		t.Errorf("the source keeps its log from %s for a table that has no copy; it ended at %s", got, end)
	}
	if got := r.column("t", "id"); got != "1 2" {
		t.Errorf("t holds %s", got)
	}
	r.db.Exec(t, "update bad set n = 1")
	r.drain()
	r.equal(nil)
}

// foreign makes a Hudi table that is not ours in the lake, with rows or without.
func (r *rig) foreign(table string, rows bool) {
	r.t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int32}, {Name: "ts", Type: arrow.PrimitiveTypes.Int64}}, nil)
	h, err := hudi.Create(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.CreateOptions{
		Name: "theirs", Type: hudi.MergeOnRead, Schema: schema, RecordKey: []string{"id"}, OrderingField: "ts", Options: hudi.Options{Buckets: 1},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	txn, err := h.Begin(r.t.Context(), hudi.TxnOptions{Operation: hudi.Insert})
	if err != nil {
		r.t.Fatal(err)
	}
	if rows {
		if _, err := txn.Commit(r.t.Context(), nil); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestForeignTableLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, put := range map[string]func(r *rig){
		"with commits":  func(r *rig) { r.foreign("t", true) },
		"being written": func(r *rig) { r.foreign("t", false) },
		"no table":      func(r *rig) { _ = r.lake.Put(r.t.Context(), "public/t/orders.csv", []byte("1,2")) },
		"another pipeline's": func(r *rig) {
			other := *r
			other.name += "_other"
			other.drain()
			other.dropSlot()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')", "insert into other values (1)")
			if strings.HasPrefix(name, "another") {
				r.skip["other"] = true
			}
			put(r)
			r.skip["other"] = false
			before := r.files("public/t")
			for range 2 { // the second finds a progress record
				r.stopped(r.once(), "public.t", "folder", "public/t", "give")
				if r.files("public/t") != before {
					t.Error("the folder was changed")
				}
			}
			if got := r.column("other", "id"); got != "1" {
				t.Errorf("the other table holds %s", got)
			}
			r.db.Exec(t, "insert into other values (2)")
			end := r.lsn("select pg_current_wal_lsn()")
			_ = r.once()
			if got := r.recorded(); got < end {
				t.Errorf("the source keeps its log from %s for a table that has no copy; it ended at %s", got, end)
			}
			r.forget("t")
			r.drain()
			r.equal(nil)
		})
	}
}

// TestDamagedTable cannot read how far a table is: its changes wait in the spool.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	r.drain()
	before := r.recorded()
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
	var newest string
	for info, err := range r.lake.List(t.Context(), "public/t/.hoodie", false) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(info.Name, "commit") {
			newest = info.Name
		}
	}
	whole, _, err := r.lake.Get(t.Context(), newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lake.Put(t.Context(), newest, whole[:len(whole)/2]); err != nil {
		t.Fatal(err)
	}
	r.stopped(r.once(), "public.t", filepath.Base(newest))
	if got := r.column("other", "id"); got != "1" {
		t.Errorf("the other table holds %s", got)
	}
	r.freeSlot()
	if got := r.confirmed(); got <= before {
		t.Errorf("the source keeps its log from %s", got)
	}
	if r.spooled("t") == 0 {
		t.Error("nothing is in the spool")
	}
	if err := r.lake.Put(t.Context(), newest, whole); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.equal(nil)
	if r.spooled("t") != 0 {
		t.Error("the spool was not drained")
	}
}

// TestFolderUnwritable has a file where folders should be made.
func TestFolderUnwritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, schemaT, "create schema second", "create table second.t (id int primary key)", "insert into t values (1, 'a')")
	open := func(root string) {
		t.Helper()
		lake, err := file.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		r.lake = lake
	}
	inTheWay := filepath.Join(dir, "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(filepath.Join(inTheWay, "lake"))
	r.says(r.once(), "lock", "is a file")

	open(filepath.Join(dir, "lake"))
	if err := os.MkdirAll(filepath.Join(dir, "lake"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lake", "second"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.stopped(r.once(), "second.t", "is a file")
	if got := r.column("t", "id"); got != "1" {
		t.Errorf("the other table holds %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "lake", "second")); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.equal(nil)

	if os.Geteuid() != 0 { // root may write everywhere
		if err := os.Chmod(filepath.Join(dir, "lake"), 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "lake"), 0o700) })
		r.lake = storage.Sub(r.lake, "sub")
		r.says(r.once(), "this user may not")
	}
}

// TestOneTableFullDisk has no room for one table for a while.
func TestOneTableFullDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)")
	inner := mem.New()
	var full atomic.Bool
	r.lake = &noRoom{Store: inner, full: &full, folder: "public/t/"}
	r.drain()
	r.db.Exec(t, "insert into t values (1, 'a')", "insert into other values (1)")
	full.Store(true)
	r.stopped(r.once(), "public.t", errNoRoom.Error())
	if got := r.column("other", "id"); got != "1" {
		t.Errorf("the other table holds %s", got)
	}
	full.Store(false)
	r.drain()
	r.equal(nil)
}

var errNoRoom = errors.New("the disk is full")

// noRoom is a store in whose folder nothing can be written while it is full.
type noRoom struct {
	storage.Store
	full   *atomic.Bool
	folder string
}

func (s *noRoom) err(name string) error {
	if s.full.Load() && strings.HasPrefix(name, s.folder) {
		return errNoRoom
	}
	return nil
}

func (s *noRoom) Create(ctx context.Context, name string) (storage.Writer, error) {
	if err := s.err(name); err != nil {
		return nil, err
	}
	return s.Store.Create(ctx, name)
}

func (s *noRoom) Put(ctx context.Context, name string, data []byte) error {
	if err := s.err(name); err != nil {
		return err
	}
	return s.Store.Put(ctx, name, data)
}

func (s *noRoom) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := s.err(name); err != nil {
		return err
	}
	return s.Store.PutIfAbsent(ctx, name, data)
}
