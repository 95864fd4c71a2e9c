package parity_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lakefeed/hudi"
	"lakefeed/hudi/timeline"
	"lakefeed/parity"
)

// TestDates dates a compaction before its instant, as a store does that keeps whole
// seconds: Hudi 1.2.0 then counts the log files on its base files to those before, and
// does not see their rows. So Lakefeed waits for the next second where the store is one
// of these. Nobody else minds.
func TestDates(t *testing.T) {
	m := newMatrixRun(t, cell{hudi.MergeOnRead, hudi.IndexBucket, "none", "1.2.0", false}, filepath.Join(t.TempDir(), "matrix"), 1)
	compaction := ""
	for _, s := range []step{
		func() (string, error) { return m.upsert(30) },
		func() (string, error) { return m.upsert(10) },
		func() (_ string, err error) {
			compaction, err = m.table.Compact(t.Context(), hudi.CompactOptions{})
			return compaction, err
		},
	} {
		if did, err := s(); err != nil {
			t.Fatalf("%s: %v", did, err)
		}
	}
	old := texts(slices.Collect(maps.Values(m.rows)))
	m.note(m.upsert(10))
	rows := texts(slices.Collect(maps.Values(m.rows)))

	at, err := timeline.ParseTime(compaction)
	if err != nil {
		t.Fatal(err)
	}
	before := at.Add(-time.Millisecond)
	if err := os.Chtimes(filepath.Join(m.path, ".hoodie", compaction+".commit"), before, before); err != nil {
		t.Fatal(err)
	}
	answers, errs := readAll(t, m.path, parity.Read{NoMeta: true})
	for i, e := range parity.Engines(t) {
		want := rows
		if e.Hudi() == "1.2.0" {
			want = old
		}
		if d := parity.Diff(want, answers[i]); errs[i] != nil || d != "" {
			t.Errorf("%s: %v %s", e, errs[i], d)
		}
	}
	if got, err := m.read(m.open()); err != nil || parity.Diff(rows, got) != "" {
		t.Errorf("lakefeed: %v %s", err, parity.Diff(rows, got))
	}
}
