package hudi

import (
	"errors"
	"testing"
	"time"
)

// TestArchiveKeepsPinned archives no commit as of which a reader reads the table, though
// no cleaning says that it stays.
func TestArchiveKeepsPinned(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		table := newTable(t, newStore(t), typ, 1)
		var instants []string
		for seq := range int64(4) {
			instants = append(instants, mustUpsert(t, table, map[string]modelRow{"a": {seq: seq}}))
		}
		pin, err := table.Pin(ctx, instants[1], time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
		if err != nil || res.Instants != 1 || res.Held == "" {
			t.Errorf("archived %+v, %v", res, err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{AsOf: instants[1]}), map[string]modelRow{"a": {seq: 1}})
		if err := pin.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if res, err = table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1}); err != nil || res.Instants != 2 {
			t.Errorf("archived %+v, %v", res, err)
		}
		if _, err := readModel(ctx, table, ReadOptions{AsOf: instants[1]}); !errors.Is(err, ErrCleaned) {
			t.Errorf("got %v, want %v", err, ErrCleaned)
		}
	})
}
