package pipeline

import (
	"context"
	"maps"
	"slices"
)

// Snapshot is [Pipeline.Snapshot] of the slot that has the table.
func (g *Group) Snapshot(ctx context.Context, table, where string, columns ...string) (Snapshot, error) {
	p, err := g.streamFor(table, Resync)
	if err != nil {
		return Snapshot{}, err
	}
	return p.Snapshot(ctx, table, where, columns...)
}

// moveSnapshots moves what was asked for tables that are another slot's to that one, wherever it was left. Those
// that take it have it before it is gone where it was, and nothing twice.
func (m *mover) moveSnapshots(ctx context.Context) error {
	all := map[string]*snapshotRecord{}
	slots := m.g.record.slots()
	for _, slot := range slots {
		var err error
		if all[slot], err = readSnapshots(ctx, m.g.o.Lake, StreamName(m.g.o.Name, slot)); err != nil {
			return err
		}
	}
	takes, gives := map[string]bool{}, map[string]bool{}
	for _, slot := range slots {
		r := all[slot]
		r.Snapshots = slices.DeleteFunc(r.Snapshots, func(s Snapshot) bool {
			to := m.g.record.Tables[s.Table]
			theirs := all[to]
			if to == slot || theirs == nil {
				return false
			}
			if !slices.ContainsFunc(theirs.Snapshots, func(o Snapshot) bool { return o.ID == s.ID }) {
				theirs.Snapshots = append(theirs.Snapshots, s)
				takes[to] = true
			}
			gives[slot] = true
			return true
		})
	}
	for _, some := range []map[string]bool{takes, gives} {
		for _, slot := range slices.Sorted(maps.Keys(some)) {
			if err := all[slot].write(ctx, m.g.o.Lake, StreamName(m.g.o.Name, slot)); err != nil {
				return err
			}
		}
	}
	return nil
}
