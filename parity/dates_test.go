package parity_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/s3test"
	"lakefeed/parity"
)

// TestDates dates a compaction before its instant, as a store does that keeps whole
// seconds: Hudi 1.2.0 then counts the log files on its base files to those before, and
// does not see their rows. So Lakefeed waits for the store's clock where the store is one
// of these. Nobody else minds.
func TestDates(t *testing.T) {
	m := newMatrixRun(t, cell{hudi.MergeOnRead, hudi.IndexBucket, "none", "1.2.0", false, false}, filepath.Join(t.TempDir(), "matrix"), 1)
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

	dateBack(t, m.path, compaction)
	seenBut120(t, m.path, rows, old)
	if got, err := m.read(m.open()); err != nil || parity.Diff(rows, got) != "" {
		t.Errorf("lakefeed: %v %s", err, parity.Diff(rows, got))
	}
}

// TestSparksDates does the same to a table that Spark with Hudi 1.2.0 makes, compacts and
// reads alone.
func TestSparksDates(t *testing.T) {
	spark := parity.Spark(t, "1.2.0")
	path := filepath.Join(t.TempDir(), "made")
	sparkMakes(t, spark, "dated", path, "mor", madeOptions)
	do := func(text string) {
		t.Helper()
		if _, err := spark.SQL(t.Context(), path, text, madeOptions); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	const options = "options => 'hoodie.metadata.enable=false,hoodie.write.table.version=6,hoodie.write.auto.upgrade=false,hoodie.compact.inline.max.delta.commits=1'"
	for _, op := range []string{"schedule", "run"} {
		do(fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}', %s)", op, options))
	}
	done, err := filepath.Glob(filepath.Join(path, ".hoodie", "*.commit"))
	if err != nil || len(done) != 1 {
		t.Fatalf("compactions: %v, %v", done, err)
	}
	compaction := strings.TrimSuffix(filepath.Base(done[0]), ".commit")
	took := fileTime(t, done[0]).Sub(instantTime(t, compaction))
	t.Logf("Spark's compaction is dated %v after its instant", took)

	old := agreed(t, path, parity.Read{})
	do("update dated set v = 'third' where id = 3")
	rows := agreed(t, path, parity.Read{})
	if parity.Diff(old, rows) == "" {
		t.Fatal("the update changed nothing")
	}
	dateBack(t, path, compaction)
	seenBut120(t, path, rows, old)
}

// TestConvertedDates makes a merge-on-read table of a copy-on-write one in S3, whose last
// commit is dated before its instant.
func TestConvertedDates(t *testing.T) {
	parity.Engines(t)
	path := strings.Replace(s3test.Start(t).Bucket(t), "?", "/matrix?", 1)
	m := newMatrixRun(t, cell{hudi.CopyOnWrite, hudi.IndexBucket, "none", "1.2.0", true, false}, path, 1)
	var first, last, date string
	for tries := 0; first == "" || date < first || date >= last; tries++ {
		if did, err := m.upsert(20); err != nil || tries == 100 {
			t.Fatalf("%s, dated %s: %v", did, date, err)
		}
		i, _ := m.table.Timeline().Last()
		last, date = i.Time, m.dated(i)
		first = cmp.Or(first, last)
	}
	m.typ = hudi.MergeOnRead
	if err := m.table.Convert(t.Context(), hudi.ConvertOptions{Type: m.typ}); err != nil {
		t.Fatal(err)
	}
	m.note(m.upsert(20))
	m.note(m.sparkUpsert(nil))
}

// dated is the date of a completed instant's file, as an instant.
func (m *matrixRun) dated(i timeline.Instant) string {
	m.t.Helper()
	for info, err := range m.store().List(m.t.Context(), ".hoodie", false) {
		if err != nil {
			m.t.Fatal(err)
		}
		if path.Base(info.Name) == i.FileName() {
			return timeline.FormatTime(info.ModTime)
		}
	}
	m.t.Fatalf("%s is not there", i.FileName())
	return ""
}

// dateBack dates a compaction's file before its instant.
func dateBack(t *testing.T, table, compaction string) {
	t.Helper()
	before := instantTime(t, compaction).Add(-time.Millisecond)
	if err := os.Chtimes(filepath.Join(table, ".hoodie", compaction+".commit"), before, before); err != nil {
		t.Fatal(err)
	}
}

// seenBut120 sees that every engine reads rows, but Hudi 1.2.0 old ones.
func seenBut120(t *testing.T, table string, rows, old []string) {
	t.Helper()
	answers, errs := readAll(t, table, parity.Read{NoMeta: true})
	for i, e := range parity.Engines(t) {
		want := rows
		if e.Hudi() == "1.2.0" {
			want = old
		}
		if d := parity.Diff(want, answers[i]); errs[i] != nil || d != "" {
			t.Errorf("%s: %v %s", e, errs[i], d)
		}
	}
}

func instantTime(t *testing.T, instant string) time.Time {
	t.Helper()
	at, err := timeline.ParseTime(instant)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func fileTime(t *testing.T, name string) time.Time {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
