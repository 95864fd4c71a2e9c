package parity_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lakefeed/hudi"
	"lakefeed/parity"
)

// TestArchive lets Spark read what we archived. One of the two goes on with a table, and
// archives more of it; then we read the archive of both and go on.
func TestArchive(t *testing.T) {
	parity.Engines(t)
	for _, typ := range matrixTypes {
		m := archivedTable(t, typ)
		for _, release := range matrixReleases {
			t.Run(release+" "+string(typ), func(t *testing.T) {
				archiveInTurns(t, m, parity.Spark(t, release), (typ == hudi.CopyOnWrite) == (release == "0.15.0"))
			})
		}
	}
}

// archivedTable is a table with upserts, deletes, a compaction, a clustering, a cleaning
// and a rollback in its archive, which was written in three goes.
func archivedTable(t *testing.T, typ hudi.TableType) *matrixRun {
	t.Helper()
	m := newMatrixRun(t, cell{typ, hudi.IndexSimple, "hive", "1.2.0", false, false}, filepath.Join(t.TempDir(), "matrix"), 3)
	upsert := func() (string, error) { return m.upsert(10) }
	clean := func() (string, error) {
		_, err := m.table.Clean(t.Context(), hudi.CleanOptions{RetainCommits: 1})
		return "cleaning", err
	}
	archive := func() (string, error) {
		res, err := m.table.Archive(t.Context(), hudi.ArchiveOptions{KeepMin: 2, KeepMax: 3})
		if err == nil && res.Instants == 0 {
			err = fmt.Errorf("nothing was archived: %s", res.Held)
		}
		return "archiving", err
	}
	for range 3 {
		steps := []step{upsert, m.remove, upsert, m.cluster, m.insert, upsert, upsert, clean, archive}
		if typ == hudi.MergeOnRead {
			steps = slices.Insert(steps, 7, m.compact)
		}
		for _, s := range steps {
			if did, err := s(); err != nil {
				t.Fatalf("%s: %v", did, err)
			}
		}
	}
	m.note("three archivings", nil)
	return m
}

func archiveInTurns(t *testing.T, m *matrixRun, spark *parity.Engine, goOn bool) {
	c := *m // a copy of the table, as Spark is to change it
	c.t, c.spark, c.release = t, spark, spark.Hudi()
	c.path, c.rows = filepath.Join(t.TempDir(), "matrix"), maps.Clone(m.rows)
	if err := os.CopyFS(c.path, os.DirFS(m.path)); err != nil {
		t.Fatal(err)
	}
	c.table = c.open()
	ours := c.archived()
	if len(ours) < 12 {
		t.Fatalf("%d writes are archived", len(ours))
	}
	if theirs := c.archivedBySpark(); !maps.Equal(theirs, ours) {
		t.Errorf("Spark reads of the archive %v, want %v", theirs, ours)
	}
	if !goOn {
		return
	}

	for range 6 {
		did, err := c.sparkUpsert(map[string]string{"hoodie.clean.automatic": "true", "hoodie.cleaner.commits.retained": "1"})
		if err != nil {
			t.Fatalf("%s: %v", did, err)
		}
	}
	call := "CALL archive_commits(path => '{path}', min_commits => 2, max_commits => 3, retain_commits => 1)"
	if _, err := spark.SQL(t.Context(), c.path, call, c.settings()); err != nil {
		t.Fatal(err)
	}
	both := c.archived()
	if len(both) < len(ours)+3 {
		t.Errorf("%d writes are archived after Spark's archiving, %d before", len(both), len(ours))
	}
	for instant, rows := range ours {
		if both[instant] != rows {
			t.Errorf("of %s the archive has %d rows, had %d", instant, both[instant], rows)
		}
	}
	c.note("Spark's archiving", nil)
	if theirs := c.archivedBySpark(); !maps.Equal(theirs, both) {
		t.Errorf("Spark reads of its archive %v, we %v", theirs, both)
	}
	c.note(c.upsert(10))
	c.note(c.sparkUpsert(nil))
}

// archived are the archived writes and how many records each wrote.
func (m *matrixRun) archived() map[string]int64 {
	m.t.Helper()
	out := map[string]int64{}
	for i, err := range m.open().Archived(m.t.Context(), "", "") {
		if err != nil {
			m.t.Fatal(err)
		}
		if i.Commit == nil {
			continue
		}
		out[i.Time] = 0
		for _, stats := range i.Commit.PartitionToWriteStats {
			for _, s := range stats {
				out[i.Time] += s.NumWrites
			}
		}
	}
	return out
}

// archivedBySpark is the same of what show_archived_commits prints. It registers the
// table, which changes its properties: it looks at a copy.
func (m *matrixRun) archivedBySpark() map[string]int64 {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "matrix")
	if err := os.CopyFS(path, os.DirFS(m.path)); err != nil {
		m.t.Fatal(err)
	}
	rows, err := m.spark.SQL(m.t.Context(), path, "CALL show_archived_commits(table => '{t}', limit => 1000, start_ts => '0', end_ts => '9')", m.settings())
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]int64{}
	for _, text := range rows {
		var r struct {
			Time string `json:"commit_time"`
			Rows int64  `json:"total_records_written"`
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			m.t.Fatal(err)
		}
		out[r.Time] = r.Rows
	}
	return out
}
