package parity_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/parity"
)

// TestDemo lets every engine read every table that the demo leaves, before and after
// a compaction by Lakefeed.
func TestDemo(t *testing.T) {
	parity.Engines(t)
	dir := filepath.Join(t.TempDir(), "demo")
	out, err := laketest.Command(t.Context(), t, "demo", "--seconds", "20", "--dir", dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The lake equals its source.") {
		t.Fatalf("lakefeed demo: %v\n%s", err, out)
	}
	lake := &laketest.Lake{Dir: dir}
	for _, name := range []string{"customers", "products", "orders", "order_items", "carts", "clicks"} {
		t.Run(name, func(t *testing.T) {
			path := folder(lake, name)
			before := agreed(t, path, parity.Read{})
			if len(before) == 0 {
				t.Error("no rows")
			}
			if properties(t, path)["hoodie.table.type"] == "COPY_ON_WRITE" {
				return
			}
			short := name == "carts" // the others' base files have all but the newest rows
			if short {
				agreed(t, path, parity.Read{Mode: "read_optimized"})
			}
			if compact(t, path) == "" {
				t.Error("there was nothing to compact")
			}
			if d := parity.Diff(before, agreed(t, path, parity.Read{})); d != "" {
				t.Errorf("before a compaction against after it: %s", d)
			}
			optimized := parity.Read{Mode: "read_optimized", NoMeta: true}
			rows := lakefeedRows(t, path, optimized)
			if short {
				rows = agreed(t, path, optimized)
			}
			if d := parity.Diff(before, rows); d != "" {
				t.Errorf("snapshot against read-optimized: %s", d)
			}
		})
	}
	for name, release := range map[string]string{"orders": "1.2.0", "carts": "0.15.0"} {
		report, err := parity.Spark(t, release).Check(t.Context(), folder(lake, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Mismatches) > 0 {
			t.Errorf("%s, Hudi %s: %v", name, release, report.Mismatches)
		}
		for _, s := range report.Steps {
			if s.Error != "" {
				t.Errorf("%s, Hudi %s, %s: %s", name, release, s.Step, s.Error)
			}
		}
	}
}
