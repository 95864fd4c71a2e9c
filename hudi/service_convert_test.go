package hudi

import (
	"testing"
	"time"
)

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

	stale := table.Properties()
	stale[BucketsKey] = "2"
	if err := store.Put(t.Context(), propertiesFile, stale.Format(time.Now())); err != nil {
		t.Fatal(err)
	}
	convert(3)
	told("converted again after a crash", "3")

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
