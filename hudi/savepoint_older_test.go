package hudi

import "testing"

// TestSavepointOfOlderCommit holds the files that its commit needs, and not those of log files
// that later commits wrote: after a restore to it the table is sound.
func TestSavepointOfOlderCommit(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table := newTable(t, store, typ, 1)
		for n := range 5 {
			mustUpsert(t, table, map[string]modelRow{"a": {seq: int64(n)}})
		}
		at := table.Timeline().Completed()[2].Time
		_, err := table.Savepoint(ctx, SavepointOptions{Instant: at})
		if err == nil {
			_, err = table.Restore(ctx, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{"a": {seq: 2}})
		if report, err := Check(ctx, store, CheckOptions{}); err != nil || !report.Sound() {
			t.Errorf("%v, %v", err, report.Faults)
		}
	})
}
