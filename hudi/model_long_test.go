package hudi

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"testing"

	"lakefeed/hudi/timeline"
	"lakefeed/internal/seed"
	"lakefeed/storage/storagetest"
)

// modelDeath is what a step panics with whose store died.
type modelDeath struct{}

// live does so many steps, every tenth of them with a death in it, and looks at the table
// after each.
func (m *model) live(steps int) {
	m.t.Helper()
	for range steps {
		if m.rnd.IntN(10) == 0 && len(m.table.Timeline().Completed()) > 0 {
			m.die()
		} else {
			m.step()
		}
		m.compare(ReadOptions{BatchRows: 17}, m.rows)
		if m.rnd.IntN(3) > 0 {
			continue
		}
		m.follow()
		m.lookup()
		if at := m.someCommit(); at != "" {
			m.compare(ReadOptions{AsOf: at}, m.past[at])
		}
	}
}

// die does a step in a process that dies at one of its calls, or at none, and then looks
// whether the table is as it was before or after the step.
func (m *model) die() {
	ctx := m.t.Context()
	at, when := 1+m.rnd.IntN([]int{40, 40, 40, 200}[m.rnd.IntN(4)]), storagetest.When(m.rnd.IntN(3))
	opts := m.table.opts
	opts.Buckets = 0
	faulty := storagetest.NewFaulty(m.store, storagetest.Fault{At: at, When: when, Dead: true})
	last, _ := m.table.Timeline().Last()
	rows, schema := m.rows, m.schema
	m.after.rows, m.after.schema = rows, schema
	table, err := Open(ctx, faulty, opts)
	m.check(err)
	m.table = table
	died := m.dies()
	opts.Concurrency.Exclusive = true
	reopened, err := Open(ctx, m.store, opts)
	m.check(err)
	m.table = reopened
	if !died {
		return
	}
	m.log = append(m.log, fmt.Sprintf("died at call %d, as %d", at, when))
	_, err = readModel(ctx, m.table, ReadOptions{}) // what it reads a restore may be about to change
	m.check(err)
	m.check(m.table.Recover(ctx))
	got, err := readModel(ctx, m.table, ReadOptions{})
	m.check(err)
	switch {
	case maps.Equal(got, m.after.rows):
		m.rows, m.schema = m.after.rows, m.after.schema
	case maps.Equal(got, rows):
		m.rows, m.schema = rows, schema
	default:
		m.t.Fatalf("after a death at call %d: %d rows, neither the %d before nor the %d after", at, len(got), len(rows), len(m.after.rows))
	}
	if m.table.Schema().NumFields() == modelSchema.NumFields() {
		m.schema = modelSchema
	} else {
		m.schema = modelSchemaLater
	}
	m.remake(last.Time)
}

// dies does a step and tells whether the process died in it.
func (m *model) dies() bool { return diesIn(&m.dying, m.step) }

// diesIn does a step, while dying is set, and tells whether the process died in it.
func diesIn(dying *bool, step func()) (died bool) {
	*dying = true
	defer func() {
		*dying = false
		if r := recover(); r != nil {
			if _, died = r.(modelDeath); !died {
				panic(r)
			}
		}
	}()
	step()
	return false
}

// remake brings the model's past in line with the timeline after a death.
func (m *model) remake(last string) {
	remakePast(m.table.Timeline(), m.past, last, m.remember)
	m.cleaned()
}

// remakePast brings a past in line with the timeline after a death: of the commits after
// an instant some are gone, and others nobody was told of.
func remakePast[S any](tl *timeline.Timeline, past map[string]S, last string, remember func(at string)) {
	for at := range past {
		if !tl.IsCompleted(at) && !tl.BeforeStart(at) {
			delete(past, at)
		}
	}
	for _, i := range tl.Completed() {
		if _, known := past[i.Time]; !known && i.Time > last {
			remember(i.Time)
		}
	}
}

// TestModelLong is TestModel and TestTableModel with 10,000 operations, from two seeds; in the
// soak from 50.
func TestModelLong(t *testing.T) {
	if os.Getenv("LAKEFEED_MODEL") == "" {
		t.Skip("LAKEFEED_MODEL is not set")
	}
	modelSeeds(t, 2)
}

func TestModelSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("LAKEFEED_SOAK is not set")
	}
	modelSeeds(t, 50)
}

// modelSeeds lives so many lives, of both table types in turn, two at a time: of a plain table of
// hash buckets, and of one that has any index, partitions and a schema that changes.
func modelSeeds(t *testing.T, n int) {
	t.Helper()
	steps := 10_000
	if s, err := strconv.Atoi(os.Getenv("LAKEFEED_MODEL_STEPS")); err == nil {
		steps = s
	}
	for i := range n {
		typ := []TableType{CopyOnWrite, MergeOnRead}[i%2]
		plain := (i+i/2)%2 == 0
		t.Run(fmt.Sprint(typ, "-", i/2), func(t *testing.T) {
			t.Parallel()
			if plain {
				newModel(t, typ, seed.New(t)).live(steps)
			} else {
				newTableModel(t, typ, seed.New(t)).live(steps)
			}
		})
	}
}
