package hudi

import (
	"fmt"
	"testing"

	"lakefeed/internal/seed"
	"lakefeed/storage/storagetest"
)

// live does so many steps, every tenth of them with a death in it, and looks at the table
// after many.
func (m *tableModel) live(steps int) {
	m.t.Helper()
	for n := range steps {
		if m.rnd.IntN(10) == 0 && len(m.table.Timeline().Completed()) > 0 {
			m.die()
		} else {
			m.step()
		}
		if m.rnd.IntN(2) == 0 {
			m.compare(m.table, ReadOptions{BatchRows: 17}, m.modelState)
		}
		if m.rnd.IntN(5) == 0 {
			m.look()
		}
		if n%500 == 499 || n == steps-1 {
			m.sound(CheckOptions{})
		}
	}
}

// die does a step in a process that dies at one of its calls, or at none, and then looks
// whether the table is as it was before or after the step.
func (m *tableModel) die() {
	ctx := m.t.Context()
	at, when := 1+m.rnd.IntN([]int{40, 40, 40, 200}[m.rnd.IntN(4)]), storagetest.When(m.rnd.IntN(3))
	faulty := storagetest.NewFaulty(m.store, storagetest.Fault{At: at, When: when, Dead: true})
	last, _ := m.table.Timeline().Last()
	before, opts := m.modelState, m.options()
	m.after = before
	table, err := Open(ctx, faulty, opts)
	m.check(err)
	m.table = table
	died := m.dies()
	m.reopen()
	if !died {
		return
	}
	m.note("died at call %d, as %d", at, when)
	_, err = m.readState(ctx, m.table, ReadOptions{}) // what it reads a restore may be about to change
	m.check(err)
	m.check(m.table.Recover(ctx))
	got, err := m.readState(ctx, m.table, ReadOptions{})
	m.check(err)
	got.schema = m.table.Schema()
	switch {
	case got.equal(m.after):
		m.modelState = m.after
	case got.equal(before):
		m.modelState = before
	default:
		m.t.Fatalf("after a death at call %d: %d rows, neither the %d before nor the %d after", at, len(got.rows), len(before.rows), len(m.after.rows))
	}
	m.remake(last.Time)
	if m.rnd.IntN(4) == 0 {
		m.sound(CheckOptions{Quick: true})
	}
}

// dies does a step and tells whether the process died in it.
func (m *tableModel) dies() bool { return diesIn(&m.dying, m.step) }

// remake brings the model's past in line with the timeline after a death.
func (m *tableModel) remake(last string) {
	remakePast(m.table.Timeline(), m.past, last, m.remember)
	m.cleaned()
}

// TestTableModel lives short lives of tables of every kind; in the soak long ones.
func TestTableModel(t *testing.T) {
	for i := range 6 {
		typ := []TableType{CopyOnWrite, MergeOnRead}[i%2]
		t.Run(fmt.Sprint(typ, "-", i/2), func(t *testing.T) {
			t.Parallel()
			newTableModel(t, typ, seed.New(t)).live(40)
		})
	}
}
