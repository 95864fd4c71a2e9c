package hudi

import (
	"errors"
	"strings"
	"testing"
)

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

// TestRestoreBehindSavepoint refuses a restore that would take back what a savepoint keeps, as a mistake
// of its caller.
func TestRestoreBehindSavepoint(t *testing.T) {
	t.Parallel()
	ctx, table := t.Context(), newTable(t, newStore(t), CopyOnWrite, 1)
	first := mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	saved := mustUpsert(t, table, map[string]modelRow{"a": {seq: 2}})
	if _, err := table.Savepoint(ctx, SavepointOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := table.Restore(ctx, first)
	if _, mistake := errors.AsType[*OptionError](err); !mistake || !strings.Contains(err.Error(), saved) {
		t.Errorf("got %v", err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{"a": {seq: 2}})
}
