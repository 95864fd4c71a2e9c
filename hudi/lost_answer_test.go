package hudi

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/storage"
)

// lostAnswer is a store that publishes a commit and answers with an error.
type lostAnswer struct {
	storage.Store

	err   error
	times int
}

func (l *lostAnswer) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	err := l.Store.PutIfAbsent(ctx, name, data)
	completed := strings.HasSuffix(name, "commit") && strings.HasPrefix(name, metaFolder)
	if err != nil || !completed || l.times == 0 {
		return err
	}
	l.times--
	return l.err
}

// TestLostAnswer publishes whole transactions, of which the answer is lost or is that of a
// conflict: they have succeeded, once, and what follows on the commit is done.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	rows := map[string]modelRow{"a": {seq: 1}, "b": {seq: 2}}
	batch := modelBatch([]string{"a", "b"}, rows, modelSchema)
	same := func(b arrow.RecordBatch) (arrow.RecordBatch, error) { return b, nil }
	for name, do := range map[string]func(context.Context, *Table) (string, error){
		"insert": func(ctx context.Context, table *Table) (string, error) { return table.Insert(ctx, batch) },
		"upsert": func(ctx context.Context, table *Table) (string, error) { return table.Upsert(ctx, batch) },
		"bulkInsert": func(ctx context.Context, table *Table) (string, error) {
			return table.BulkInsert(ctx, batches(batch), BulkOptions{})
		},
		"rewrite": func(ctx context.Context, table *Table) (string, error) { return table.Rewrite(ctx, nil, nil, same) },
		"cluster": func(ctx context.Context, table *Table) (string, error) {
			res, err := table.Cluster(ctx, ClusterOptions{SortBy: []string{"id"}})
			return res.Instant, err
		},
		"convert": func(ctx context.Context, table *Table) (string, error) {
			err := table.Convert(ctx, ConvertOptions{Buckets: 3})
			last, _ := table.Timeline().Last()
			return last.Time, err
		},
	} {
		for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				for _, answer := range []error{errors.New("connection reset"), &ConflictError{Reason: "an answer that was lost"}} {
					store := &lostAnswer{Store: newStore(t), err: answer}
					table, err := Create(t.Context(), store, CreateOptions{
						Name: "model", Type: MergeOnRead, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
						Options: Options{Buckets: 2, Concurrency: Concurrency{Mode: mode}},
					})
					if err != nil {
						t.Fatal(err)
					}
					if name != "insert" && name != "bulkInsert" {
						mustUpsert(t, table, maps.Clone(rows))
					}
					before := len(table.Timeline().Completed())
					store.times = 1
					instant, err := do(t.Context(), table)
					if err != nil || store.times != 0 {
						t.Fatalf("%v; answers to lose: %d", err, store.times)
					}
					if last, _ := table.Timeline().Last(); last.Time != instant || len(table.Timeline().Completed()) != before+1 {
						t.Errorf("instant %q on timeline %v", instant, table.Timeline().Completed())
					}
					compareRows(t, mustRead(t, table, ReadOptions{}), rows)
					if n := table.Properties()[BucketsKey]; name == "convert" && n != "3" {
						t.Errorf("%s buckets in the properties", n)
					}
					mustUpsert(t, table, rows)
				}
			})
		}
	}
}

// TestLostAnswerOfConversion makes a merge-on-read table copy-on-write, of which the answer
// is lost: its type changes right behind the commit all the same.
func TestLostAnswerOfConversion(t *testing.T) {
	t.Parallel()
	store := &lostAnswer{Store: newStore(t), err: errors.New("connection reset")}
	table := newTable(t, store, MergeOnRead, 2)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 2}})
	store.times = 1
	if err := table.Convert(t.Context(), ConvertOptions{Type: CopyOnWrite}); err != nil || store.times != 0 {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), store, Options{})
	if err != nil || table.Type() != CopyOnWrite || other.Type() != CopyOnWrite {
		t.Fatalf("%v, types %s and %s", err, table.Type(), other.Type())
	}
	compareRows(t, mustRead(t, other, ReadOptions{}), map[string]modelRow{"a": {seq: 2}})
}

// TestLostAnswerOfImport imports a table of which the commit's answer is lost.
func TestLostAnswerOfImport(t *testing.T) {
	t.Parallel()
	store := &lostAnswer{Store: newStore(t), err: errors.New("connection reset"), times: 1}
	res, err := Import(t.Context(), store, importFiles(t, "legacy.parquet", "today.parquet"), importOptions(CopyOnWrite))
	if err != nil || store.times != 0 {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store.Store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if last, _ := table.Timeline().Last(); res.Instant == "" || res.Instant != last.Time {
		t.Errorf("instant %q, want %s", res.Instant, last.Time)
	}
}
