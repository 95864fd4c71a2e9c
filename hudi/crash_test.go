package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// crashStep is a step of the crash test's story: what it does, and the rows after it.
type crashStep struct {
	name string
	run  func(ctx context.Context, m *model) error
	rows map[string]modelRow
	// between are rows that readers may see while it is at work.
	between map[string]modelRow
}

// crashStory is a life of a table with everything in it.
func crashStory(t *testing.T, typ TableType) (m *model, steps []crashStep) {
	t.Helper()
	m = newModel(t, typ, 7)
	rows := map[string]modelRow{}
	write := func(op Operation, schema *arrow.Schema) {
		m.rows = rows
		if op == InsertOverwriteTable {
			m.rows = map[string]modelRow{}
		}
		if schema != nil {
			m.schema = schema
		}
		up, del, after := m.change()
		n := strconv.Itoa(len(steps))
		steps = append(steps, crashStep{string(op), func(ctx context.Context, m *model) error {
			x, err := m.table.Begin(ctx, TxnOptions{Operation: op, Schema: schema})
			if err != nil {
				return err
			}
			if err := m.write(ctx, x, up, del); err != nil {
				return errors.Join(err, x.Abort(ctx))
			}
			if _, err := x.Commit(ctx, map[string]string{"step": n}); err != nil {
				return errors.Join(err, x.Abort(ctx))
			}
			return nil
		}, after, nil})
		rows = after
	}
	service := func(name string, run func(ctx context.Context, m *model) error) {
		steps = append(steps, crashStep{name, run, rows, nil})
	}
	clean := func(ctx context.Context, m *model) error {
		_, err := m.table.Clean(ctx, CleanOptions{RetainCommits: 1})
		return err
	}
	compact := func(ctx context.Context, m *model) error {
		_, err := m.table.Compact(ctx, CompactOptions{})
		return err
	}
	write(BulkInsert, nil)
	write(Upsert, nil)
	service("abort", func(ctx context.Context, m *model) error {
		x, err := m.table.Begin(ctx, TxnOptions{})
		if err != nil {
			return err
		}
		return errors.Join(m.write(ctx, x, map[string]modelRow{"k1": {seq: 1}}, []string{"k2", "k3"}), x.Abort(ctx))
	})
	service("compact", compact)
	write(Upsert, modelSchemaLater)
	service("clean", clean)
	write(InsertOverwriteTable, nil)
	write(Delete, nil)
	service("compact again", compact)
	service("savepoint", func(ctx context.Context, m *model) error {
		_, err := m.table.Savepoint(ctx, SavepointOptions{})
		return err
	})
	kept := rows
	write(Upsert, nil)
	between := rows
	service("clean again", clean)
	service("archive", func(ctx context.Context, m *model) error {
		_, err := m.table.Archive(ctx, ArchiveOptions{KeepMin: 2})
		return err
	})
	write(InsertOverwriteTable, nil)
	rows = kept
	service("restore", func(ctx context.Context, m *model) error {
		saved := m.table.Savepoints()
		if len(saved) != 1 {
			return fmt.Errorf("savepoints: %v", saved)
		}
		_, err := m.table.Restore(ctx, saved[0])
		return err
	})
	steps[len(steps)-1].between = between
	service("release", func(ctx context.Context, m *model) error {
		if err := m.table.Recover(ctx); err != nil { // an earlier try may have done it
			return err
		}
		for _, at := range m.table.Savepoints() {
			if err := m.table.ReleaseSavepoint(ctx, at); err != nil {
				return err
			}
		}
		return nil
	})
	write(Upsert, nil)
	wrong := strconv.Itoa(len(steps) - 1)
	rows = kept
	service("roll back", func(ctx context.Context, m *model) error {
		if err := m.table.Recover(ctx); err != nil {
			return err
		}
		step, at, err := m.table.LastExtra(ctx, "step")
		if err == nil && step == wrong { // not taken back by an earlier try
			_, err = m.table.Rollback(ctx, at)
		}
		return err
	})
	return m, steps
}

// tell runs the story on a store until a step fails, and returns the number of the
// steps that were done, and whether the next one began.
func tell(ctx context.Context, store storage.Store, m *model, steps []crashStep) (done int, err error) {
	opts := m.table.opts
	table, err := Create(ctx, store, CreateOptions{
		Name: "model", Type: m.table.typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq", Options: opts,
	})
	if err != nil {
		return -1, err
	}
	return goThrough(ctx, &model{table: table, t: m.t}, steps)
}

// goThrough does steps until one fails.
func goThrough(ctx context.Context, m *model, steps []crashStep) (done int, err error) {
	for i, s := range steps {
		if err := s.run(ctx, m); err != nil {
			return i, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return len(steps), nil
}

// soak tells whether the long tests are to run.
func soak() bool { return os.Getenv("LAKEFEED_SOAK") != "" }

// some are the numbers below n, all of them in the soak, else each every-th from some one on.
func some(t *testing.T, n, every int) iter.Seq[int] {
	t.Helper()
	if soak() {
		every = 1
	}
	from := int(seed.New(t) % uint64(every))
	t.Logf("of %d each %d-th, from %d on", n, every, from)
	return func(yield func(int) bool) {
		for i := from; i < n && yield(i); i += every {
		}
	}
}

// TestCrash lets the store die at each of its calls, opens the table anew and finds
// it as it was before or after the step that was at work.
func TestCrash(t *testing.T) {
	for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
		t.Run(string(typ), func(t *testing.T) {
			m, steps := crashStory(t, typ)
			counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{Only: worthwhile})
			if _, err := tell(t.Context(), counter, m, steps); err != nil {
				t.Fatal(err)
			}
			calls := counter.Calls()
			for n := range some(t, 3*len(calls), 25) { // each call and each way to die at it
				at := 1 + n/3
				crash := &crash{t: t, m: m, steps: steps, at: at, call: calls[at-1], when: storagetest.When(n % 3)}
				crash.run()
			}
		})
	}
}

// TestFault lets one call fail while the process lives on: the step is tried again with
// the same Table, and the story ends as if nothing had been.
func TestFault(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		m, steps := crashStory(t, typ)
		counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{Only: worthwhile})
		table := newTable(t, counter, typ, m.table.Buckets())
		if _, err := goThrough(ctx, &model{table: table, t: t}, steps); err != nil {
			t.Fatal(err)
		}
		calls := counter.Calls()
		for n := range some(t, len(calls)+1, 12) {
			if n < 3 { // these create the table
				continue
			}
			c := &crash{t: t, m: m, steps: steps, at: n, call: calls[n-1], when: storagetest.When(n % 3)}
			store := storagetest.NewFaulty(newStore(t), storagetest.Fault{At: n, When: c.when, Only: worthwhile})
			told := &model{table: newTable(t, store, typ, m.table.Buckets()), t: t}
			for left := steps; len(left) > 0; {
				done, err := goThrough(ctx, told, left)
				if err != nil && !errors.Is(err, storagetest.ErrFault) {
					c.fatal("%v", err)
				}
				left = left[done:]
			}
			if err := told.table.Recover(ctx); err != nil {
				c.fatal("recover: %v", err)
			}
			c.check(ctx, told.table, len(steps)-1)
			c.checkLeft(ctx, store, told.table)
		}
	})
}

// TestPowerFailure lets the power of a disk fail at random, which forgets what was not
// synced: what a call returned from must be there.
func TestPowerFailure(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		m, steps := crashStory(t, typ)
		disk := storagetest.NewCrashFS()
		if _, err := tell(ctx, diskStore(t, disk), m, steps); err != nil {
			t.Fatal(err)
		}
		ops, rounds := disk.Ops(), 8
		if soak() {
			rounds = 100
		}
		seeds := rand.New(rand.NewPCG(seed.New(t), 9))
		for range rounds {
			seed := seeds.Uint64()
			rnd := rand.New(rand.NewPCG(seed, 0))
			disk := storagetest.NewCrashFS()
			c := &crash{t: t, m: m, steps: steps, at: 1 + rnd.IntN(ops), call: storagetest.Call{Op: "seed", Name: strconv.FormatUint(seed, 10)}}
			disk.CrashAfter(c.at)
			done, err := tell(ctx, diskStore(t, disk), m, steps)
			disk.Crash(rnd)
			store := diskStore(t, disk)
			c.look(ctx, store, done, err, storagetest.ErrPowerOff, func() {
				disk.CrashAfter(1 + rnd.IntN(60))
				if table, err := Open(ctx, store, m.table.opts); err == nil {
					_ = table.Recover(ctx) // it may die
				}
				disk.Crash(rnd)
				table, err := Open(ctx, store, m.table.opts)
				if err == nil {
					err = table.Recover(ctx)
				}
				if err != nil {
					c.fatal("recover: %v", err)
				}
			})
		}
	})
}

func diskStore(t *testing.T, disk *storagetest.CrashFS) storage.Store {
	t.Helper()
	store, err := file.OpenFS("/table", disk)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// worthwhile leaves out the writes into base files, of which there are many: nothing is
// seen of them before the file's commit.
func worthwhile(c storagetest.Call) bool {
	return c.Op != "Write" || strings.Contains(c.Name, ".log.")
}

type crash struct {
	t     *testing.T
	m     *model
	steps []crashStep
	at    int
	call  storagetest.Call
	when  storagetest.When
}

func (c *crash) run() {
	c.t.Helper()
	ctx := c.t.Context()
	inner := newStore(c.t)
	done, err := tell(ctx, storagetest.NewFaulty(inner, storagetest.Fault{At: c.at, When: c.when, Dead: true, Only: worthwhile}), c.m, c.steps)
	c.look(ctx, inner, done, err, storagetest.ErrFault, func() { c.recover(ctx, inner) })
}

// look opens the table that a death left, recovers it and looks whether it is what it
// should be, all the time.
func (c *crash) look(ctx context.Context, inner storage.Store, done int, err, death error, recover func()) {
	c.t.Helper()
	if done == len(c.steps) { // the last call's failure may be none of the step's
		done--
	} else if !errors.Is(err, death) {
		c.fatal("the story ended with %v", err)
	}
	table, err := Open(ctx, inner, c.m.table.opts)
	if done < 0 && errors.Is(err, ErrNoTable) {
		if _, err := tell(ctx, inner, c.m, c.steps[:1]); err != nil {
			c.fatal("create again: %v", err)
		}
		return
	}
	if err != nil {
		c.fatal("open: %v", err)
	}
	c.check(ctx, table, max(done, 0)) // readers see whole commits before recovery too
	recover()
	if err := table.Refresh(ctx); err != nil {
		c.fatal("refresh: %v", err)
	}
	c.check(ctx, table, max(done, 0))
	c.checkLeft(ctx, inner, table)
	c.goOn(ctx, table)
}

// recover lets the recovery die too, at each of some calls, before it may finish.
func (c *crash) recover(ctx context.Context, inner storage.Store) {
	for at := 1 + c.at%5; at < 30; at += 5 {
		faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: c.when, Dead: true})
		table, err := Open(ctx, faulty, c.m.table.opts)
		if err == nil {
			err = table.Recover(ctx)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, storagetest.ErrFault) {
			c.fatal("recover, dying at %d: %v", at, err)
		}
	}
	table, err := Open(ctx, inner, c.m.table.opts)
	if err == nil {
		err = table.Recover(ctx)
	}
	if err != nil {
		c.fatal("recover: %v", err)
	}
}

// check compares the table with the story before and after a step.
func (c *crash) check(ctx context.Context, table *Table, step int) {
	c.t.Helper()
	got, err := readModel(ctx, table, ReadOptions{})
	if err != nil {
		c.fatal("read: %v", err)
	}
	before := map[string]modelRow{}
	if step > 0 {
		before = c.steps[step-1].rows
	}
	after := c.steps[step].rows
	if b := c.steps[step].between; !maps.Equal(got, before) && !maps.Equal(got, after) && (b == nil || !maps.Equal(got, b)) {
		c.fatal("%d rows, neither the %d before nor the %d after", len(got), len(before), len(after))
	}
	value, _, err := table.LastExtra(ctx, "step")
	if err != nil {
		c.fatal("last step: %v", err)
	}
	if n, err := strconv.Atoi(value); err == nil && !maps.Equal(got, c.steps[n].rows) {
		c.fatal("the rows are not those of step %d, which the checkpoint names", n)
	}
}

// checkLeft sees that nothing is left pending, and no base file that does not count.
func (c *crash) checkLeft(ctx context.Context, store storage.Store, table *Table) {
	c.t.Helper()
	if err := leftovers(ctx, store, table); err != nil {
		c.fatal("%v", err)
	}
}

// goOn writes to the recovered table.
func (c *crash) goOn(ctx context.Context, table *Table) {
	c.t.Helper()
	want, err := readModel(ctx, table, ReadOptions{})
	if err != nil {
		c.fatal("read: %v", err)
	}
	row := modelRow{name: "after", seq: 99}
	want["after"] = row
	batch := modelBatch([]string{"after"}, map[string]modelRow{"after": row}, table.Schema())
	if _, err := table.Upsert(ctx, batch); err != nil {
		c.fatal("upsert: %v", err)
	}
	got, err := readModel(ctx, table, ReadOptions{})
	if err != nil || !maps.Equal(got, want) {
		c.fatal("after a further upsert: %d rows, %v; want %d", len(got), err, len(want))
	}
}

func (c *crash) fatal(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("death at call %d, %v, as %d: %s", c.at, c.call, c.when, fmt.Sprintf(format, args...))
}
