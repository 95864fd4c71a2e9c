package pipeline

import "context"

// Snapshot is [Pipeline.Snapshot] of the slot that has the table.
func (g *Group) Snapshot(ctx context.Context, table, where string) (Snapshot, error) {
	p, err := g.streamFor(table, Resync)
	if err != nil {
		return Snapshot{}, err
	}
	return p.Snapshot(ctx, table, where)
}
