package hudi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lakefeed/storage"
)

// atFirstPut is a store that does something right before a file whose name ends so is put.
type atFirstPut struct {
	storage.Store
	suffix string
	do     func()
}

func (p *atFirstPut) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if do := p.do; do != nil && strings.HasSuffix(name, p.suffix) {
		p.do = nil
		do()
	}
	return p.Store.PutIfAbsent(ctx, name, data)
}

// TestSameTime lets a compaction choose the time that a transaction of another writer has
// chosen and not put yet: neither takes the other one's files for its own.
func TestSameTime(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(x *Txn, table *Table) error{
		"aborted": func(x *Txn, _ *Table) error { return x.Abort(t.Context()) },
		"left": func(x *Txn, table *Table) error {
			x.table.unlock()
			return table.Recover(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, store := t.Context(), newStore(t)
			noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
			opts := Options{Buckets: 1, Services: &ServicesOptions{}, Now: func() time.Time { return noon }, Concurrency: Concurrency{Exclusive: true}}
			newTable(t, store, MergeOnRead, 1)
			a, err := Open(ctx, store, opts)
			if err != nil {
				t.Fatal(err)
			}
			mustUpsert(t, a, map[string]modelRow{"old0": {seq: 1}})
			mustUpsert(t, a, map[string]modelRow{"old1": {seq: 1}})
			compacted := ""
			theirs := &atFirstPut{store, ".deltacommit.requested", func() { compacted, err = a.Compact(ctx, CompactOptions{}) }}
			b, berr := Open(ctx, theirs, opts)
			if berr != nil {
				t.Fatal(berr)
			}
			x := begin(t, b, Upsert, "b")
			if err != nil || compacted != x.time {
				t.Fatalf("compaction %q, transaction %q, %v", compacted, x.time, err)
			}
			if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
				t.Errorf("commit: %v", err)
			}
			if err := end(x, a); err != nil {
				t.Error(err)
			}
			mustUpsert(t, a, map[string]modelRow{"a": {seq: 1}})
			checkBoth(t, store, &soleWriter{t: t, acked: []string{"old0", "old1", "a"}})
			if rows := mustRead(t, a, ReadOptions{}); len(rows) != 3 {
				t.Errorf("%d rows", len(rows))
			}
		})
	}
}
