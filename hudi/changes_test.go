package hudi

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/internal/golden"
	"lakefeed/storage/file"
)

// changedRows reads changes as lines in the form of the expected files.
func changedRows(t *testing.T, table *Table, opts ChangesOptions) []string {
	t.Helper()
	var lines []string
	for batch, err := range table.Changes(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			row := map[string]any{}
			for c, f := range batch.Schema().Fields() {
				row[f.Name] = canonicalValue(batch.Column(c), i)
			}
			lines = append(lines, canonical(t, row))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestGoldenChanges reads what Spark read incrementally.
func TestGoldenChanges(t *testing.T) {
	for _, name := range golden.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := golden.Unpack(t, name)
			store, err := file.Open(filepath.Join(dir, "table"))
			if err != nil {
				t.Fatal(err)
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for what, path := range golden.Expected(t, dir) {
				from, ok := strings.CutPrefix(what, "incremental_from_")
				if !ok {
					continue
				}
				t.Run(what, func(t *testing.T) {
					opts := ChangesOptions{From: strings.TrimPrefix(from, "completion_"), Meta: true, BatchRows: 100}
					diffLines(t, changedRows(t, table, opts), goldenRows(t, path))
				})
			}
		})
	}
}
