package hudi

import (
	"context"
	"errors"
	"testing"

	"lakefeed/storage"
)

// failedPut is a store that does not write one file.
type failedPut struct {
	storage.Store
	name string
}

var errFailedPut = errors.New("the store is gone")

func (s failedPut) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if name == s.name {
		return "", errFailedPut
	}
	return s.Store.PutIfMatch(ctx, name, data, v)
}

// TestBucketsInProperties: Spark takes the number of buckets from hoodie.properties, which
// follow a conversion and a restore, and a conversion that died before it changed them.
func TestBucketsInProperties(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table, err := Create(t.Context(), store, CreateOptions{
		Name: "t", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq", Options: Options{Buckets: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	told := func(when, want string) {
		t.Helper()
		opened, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := opened.Properties()[BucketsKey]; got != want {
			t.Errorf("%s: %s buckets, want %s", when, got, want)
		}
	}
	convert := func(n int) {
		t.Helper()
		if err := table.Convert(t.Context(), ConvertOptions{Buckets: n}); err != nil {
			t.Fatal(err)
		}
	}
	rows := modelBatch([]string{"a", "b", "c"}, map[string]modelRow{}, modelSchema)
	if _, err := table.Upsert(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	at, err := table.Savepoint(t.Context(), SavepointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	told("made", "2")
	convert(3)
	told("converted", "3")

	for what, next := range map[string]func(*Table) error{
		"a transaction": func(t2 *Table) error { _, err := t2.Upsert(t.Context(), rows); return err },
		"a recovery":    func(t2 *Table) error { return t2.Recover(t.Context()) },
		"a conversion":  func(t2 *Table) error { return t2.Convert(t.Context(), ConvertOptions{Buckets: 4}) },
	} {
		convert(3)
		dead, err := Open(t.Context(), failedPut{store, propertiesFile}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := dead.Convert(t.Context(), ConvertOptions{Buckets: 4}); !errors.Is(err, errFailedPut) {
			t.Fatalf("a conversion that dies behind its commit: %v", err)
		}
		told("before "+what, "3")
		if table, err = Open(t.Context(), store, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := next(table); err != nil {
			t.Fatal(err)
		}
		told("after "+what, "4")
	}

	if _, err := table.Restore(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	told("restored", "2")
	convert(4)
	if _, err := table.Rollback(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	told("rolled back", "2")
	if rows, err := readModel(t.Context(), table, ReadOptions{}); err != nil || len(rows) != 3 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
