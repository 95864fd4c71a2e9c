package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

func remake(o *options) { o.Remake = true }

// lostRig is a rig whose slot is gone, and whose tables have changed since.
func lostRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, wildTable, external, "create table other (id int primary key)", "create table keyless (v text)", "insert into keyless values ('a'), ('a')")
	r.db.Exec(t, wild(1)...)
	r.drain()
	r.dropSlot()
	r.db.Exec(t, wild(2)...)
	r.db.Exec(t, "insert into keyless values ('b')", "delete from keyless where v = 'a'")
	return r
}

// TestSlotGone has a slot that somebody dropped: all tables stop, by name and reason, until
// somebody asks that they are copied anew, once.
func TestSlotGone(t *testing.T) {
	t.Parallel()
	r := lostRig(t)
	for range 2 {
		r.refused(r.once(), r.slot(), "gone", "lakefeed resync --all")
	}
	if stops := r.stops(); len(stops) != 3 || !strings.Contains(stops["public.t"].Why, "gone from the source") {
		t.Errorf("the lake says %+v", stops)
	}
	r.must(pipeline.ResyncAll(t.Context(), r.lake, r.name))
	r.drain()
	r.equal(nil)
	if len(r.stops()) != 0 || r.column("keyless", "v") != "b" {
		t.Errorf("%v, %s", r.stops(), r.column("keyless", "v"))
	}
	r.dropSlot()
	r.refused(r.once(), r.slot(), "gone") // it was asked for once
}

// loseSlot has the server throw away the log that the slot needs.
var loseSlot = []string{
	"alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()",
	"select count(pg_logical_emit_message(false, 'ballast', repeat('x', 1 << 20))) from generate_series(1, 70)", "select pg_switch_wal()", "checkpoint",
}

// TestSlotRemadeLong has policy, or an order, make the slot anew while the pipeline goes on: readers see the
// old rows until the new ones are there.
func TestSlotRemadeLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, c := range map[string]struct {
		harm []string // @ is the slot
		mods []func(*options)
		ask  bool
	}{
		"dropped, by policy": {[]string{"select pg_drop_replication_slot('@')"}, []func(*options){remake}, false},
		"dropped, by order":  {[]string{"select pg_drop_replication_slot('@')"}, nil, true},
		"moved, by order":    {[]string{"select pg_replication_slot_advance('@', pg_current_wal_lsn())"}, nil, true},
		"sound, by order":    {nil, nil, true},
		"lost, by policy":    {loseSlot, []func(*options){remake}, false},
		"lost, by order":     {loseSlot, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost := strings.HasPrefix(name, "lost")
			begin := newRig
			if lost {
				begin = newRigAlone
			}
			r := begin(t, wildTable, external, "create table other (id int primary key)")
			r.db.Exec(t, wild(1)...)
			r.drain()
			r.db.Exec(t, wild(2)...)
			r.freeSlot()
			for _, sql := range c.harm {
				r.db.Exec(t, strings.ReplaceAll(sql, "@", r.slot()))
			}
			if lost {
				if got := r.query("select wal_status from pg_replication_slots where slot_name = '%s'", r.slot()); got != "lost" {
					t.Fatalf("the slot is %s", got)
				}
				r.refused(r.once(), r.slot(), "lost", "lakefeed resync --all")
			}
			r.db.Exec(t, wild(3)...)
			if c.ask {
				r.must(pipeline.ResyncAll(t.Context(), r.lake, r.name))
			}
			run := r.start(c.mods...)
			r.await("streaming", func() bool {
				if r.column("t", "w") == "" {
					t.Error("a reader finds the table empty")
				}
				return run.Status().State == pipeline.Streaming && strings.Contains(r.column("t", "w"), "touched 3")
			})
			r.db.Exec(t, wild(4)...)
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
	t.Run("moved, by policy", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, wildTable)
		r.drain()
		r.advanceSlot("pg_current_wal_lsn()")
		r.db.Exec(t, wild(1)...)
		r.advanceSlot("pg_current_wal_lsn()")
		r.refused(r.once(remake), "was moved", "resync --all")
	})
}

// TestSlotRemadeKilledLong dies at every step of making the slot anew.
func TestSlotRemadeKilledLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	r.drain()
	inner := r.lake
	for at := 1; ; at += 2 {
		r.db.Exec(t, wild(at)...)
		if r.freeSlot(); r.query("select count(*) from pg_replication_slots where slot_name = '%s'", r.slot()) != "0" {
			r.dropSlot()
		}
		r.db.Exec(t, wild(at+500)...)
		faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: storagetest.When(at / 2 % 2), Dead: true, Only: func(c storagetest.Call) bool {
			return !strings.Contains(c.Name, "lock") && strings.HasPrefix(c.Name, "_lakefeed")
		}})
		r.lake = faulty
		_ = r.once(remake)
		r.lake = inner
		r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", at))
		if err := r.once(remake); err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		r.equal(nil)
		if !faulty.Fired() {
			t.Logf("%d steps", at)
			return
		}
	}
}

// TestGovernorDropsSlotLong has a lake that is away, and its spool with it: when the source keeps too
// much, the slot is dropped, and by policy all is copied anew when the lake is back.
func TestGovernorDropsSlotLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprintf("on its own %t", again), func(t *testing.T) {
			t.Parallel()
			r := newRigAlone(t, wildTable, external, "create table other (id int primary key)")
			var full atomic.Bool
			r.lake = &noRoom{Store: mem.New(), full: &full}
			budget := pipeline.WALBudget{Warn: 1 << 20, DropSlot: 64 << 20, Every: 50 * time.Millisecond}
			run := r.start(retryLake, func(o *options) { o.Remake, o.WALBudget = again, budget })
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			full.Store(true)
			r.db.Exec(t, wild(1)...)
			r.db.Exec(t, "select count(pg_logical_emit_message(false, 'ballast', repeat('x', 1 << 20))) from generate_series(1, 70)")
			r.await("the slot is dropped", func() bool {
				return r.query("select count(*) from pg_replication_slots where slot_name = '%s'", r.slot()) == "0"
			})
			r.db.Exec(t, wild(2)...)
			full.Store(false)
			if !again {
				r.refused(run.await(), "gone", "resync --all")
				r.must(pipeline.ResyncAll(t.Context(), r.lake, r.name))
				r.drain()
				r.equal(nil)
				return
			}
			r.await("it is in step", func() bool {
				return run.Status().State == pipeline.Streaming && strings.Contains(r.column("t", "w"), "touched 2")
			})
			r.equal(run)
		})
	}
}

// TestDroppedIsTold finds in the record why the slot is gone, and that nothing but the lake's
// note is needed for that.
func TestDroppedIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable)
	budget := pipeline.WALBudget{DropSlot: 1, Every: 50 * time.Millisecond}
	run := r.start(func(o *options) { o.WALBudget = budget })
	err := run.await()
	if position := new(pipeline.PositionError); !errors.As(err, &position) {
		t.Fatal(err)
	}
	r.says(r.once(), "wal_budget.drop_slot")
	if _, _, err := r.lake.Get(t.Context(), "_lakefeed/progress/"+r.name); errors.Is(err, storage.ErrNotExist) {
		t.Error(err)
	}
}
