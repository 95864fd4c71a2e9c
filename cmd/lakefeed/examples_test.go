package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/internal/ci"
	"lakefeed/query"
	"lakefeed/storage/file"
)

// TestExamples runs what --help shows of `lakefeed table` and `lakefeed query`, by a shell,
// in a lake of which the instants are those of the examples. Each line must succeed, and say
// something.
func TestExamples(t *testing.T) {
	lake := t.TempDir()
	makeExampleLake(t, lake)
	for path, lines := range examples {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			if path == "query" && !query.Supported {
				ci.Missing(t, "%v", query.ErrNoSQL)
			}
			var script strings.Builder
			for line := range strings.Lines(strings.TrimSpace(lines)) {
				// What it says is on standard output, or in the file that it names.
				line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
				script.WriteString("rm -f orders.parquet out\n{ " + line + "\n} > out || exit\ncat out\n[ -s out ] || [ -s orders.parquet ] || { echo nothing was printed >&2; exit 9; }\n")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "run.txtar"), []byte("exec sh -x example.sh\n-- example.sh --\n"+script.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Files: []string{filepath.Join(dir, "run.txtar")},
				Setup: func(e *testscript.Env) error { return os.CopyFS(e.WorkDir, os.DirFS(lake)) },
			})
		})
	}
}

// makeExampleLake makes what the examples name below dir: lake/public/orders, which was
// written to in January 2026, has a savepoint and a pin, in/*.parquet, shop.yaml and
// report.sql.
func makeExampleLake(t *testing.T, dir string) {
	t.Helper()
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	path := filepath.Join(dir, "lake", "public", "orders")
	store, err := file.Open(path)
	must(t, err)
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "customer", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "status", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "total", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
		{Name: "ordered_at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	}, nil)
	table, err := hudi.Create(t.Context(), store, hudi.CreateOptions{
		Name: "orders", Type: hudi.MergeOnRead, Schema: sc, RecordKey: []string{"id"}, OrderingField: "id",
		Options: hudi.Options{Buckets: 2, Services: &hudi.ServicesOptions{}, Now: func() time.Time { return now }},
	})
	must(t, err)
	for _, rows := range []string{
		`[{"id": 1, "customer": "ann", "status": "new", "total": "10.50", "ordered_at": "2026-01-31T09:00:00Z"}, {"id": 2, "customer": "bob", "status": "new", "total": "7.00", "ordered_at": "2026-01-31T09:30:00Z"}]`,
		`[{"id": 1, "customer": "ann", "status": "paid", "total": "10.50", "ordered_at": "2026-01-31T09:00:00Z"}]`,
		`[{"id": 3, "customer": "cid", "status": "new", "total": "3.20", "ordered_at": "2026-01-31T11:59:00Z"}]`,
		`[{"id": 2, "customer": "bob", "status": "paid", "total": "7.00", "ordered_at": "2026-01-31T09:30:00Z"}, {"id": 4, "customer": "ann", "status": "new", "total": "1.00", "ordered_at": "2026-01-31T12:30:00Z"}]`,
	} {
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, sc, strings.NewReader(rows))
		must(t, err)
		_, err = table.Upsert(t.Context(), batch)
		must(t, err)
		if now.Hour() == 12 {
			_, err = table.Savepoint(t.Context(), hudi.SavepointOptions{Instant: "20260131120000000", By: "test"})
			must(t, err)
		}
		now = now.Add(time.Hour)
	}
	must(t, store.Put(t.Context(), ".hoodie/.lakefeed/pins/1b4e28ba-2fa1-41d2-883f-0016d3cca427.json",
		[]byte(`{"id": "1b4e28ba-2fa1-41d2-883f-0016d3cca427", "instant": "20260131120000000", "until": "2100-01-01T00:00:00Z", "created": "2026-01-31T12:00:00Z", "owner": "test/1"}`)))
	must(t, os.WriteFile(filepath.Join(dir, "report.sql"), []byte("SELECT count(*) AS n FROM orders\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte("pipelines: [{name: shop, source: {postgres: {url: \"postgres://u@127.0.0.1:1/shop\"}}, tables: [{match: public.*}], lake: {url: lake}}]\n"), 0o600))
	writeExampleParquet(t, filepath.Join(dir, "in", "orders.parquet"), path)
}

// writeExampleParquet prints the table's rows as a Parquet file.
func writeExampleParquet(t *testing.T, name, table string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Dir(name), 0o750))
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	if code := run(context.Background(), []string{"table", "read", table, "--format", "parquet"}, nil, f, os.Stderr); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each verb of `lakefeed table` has examples, and each example a command.
func TestExamplesAreComplete(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, c := range append(tableCommand().Commands(), queryCommand()) {
		path := strings.TrimPrefix("table "+c.Name(), "table query")
		if path == "" {
			path = "query"
		}
		shown[path] = true
		if examples[path] == "" {
			t.Errorf("lakefeed %s has no example", path)
		}
	}
	for path := range examples {
		if !shown[path] {
			t.Errorf("examples of %s, which is no command", path)
		}
	}
	root := &cobra.Command{Use: "lakefeed"}
	root.AddCommand(tableCommand())
	addExamples(root, "")
	if c, _, err := root.Find([]string{"table", "read"}); err != nil || !strings.HasPrefix(c.Example, "  lakefeed table read ") {
		t.Errorf("table read shows %q, %v", c.Example, err)
	}
}

// The command lines of the pages are examples, so that they are run too.
func TestPagesShowExamples(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, lines := range examples {
		for line := range strings.Lines(lines) {
			known[commandOf(line)] = true
		}
	}
	for page, least := range map[string]int{"table.md": 15, "query.md": 7} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		must(t, err)
		lines := regexp.MustCompile("(?m)^lakefeed (table|query) .*$").FindAllString(string(text), -1)
		if len(lines) < least {
			t.Errorf("%s shows %d command lines, want %d at least", page, len(lines), least)
		}
		for _, line := range lines {
			if !known[commandOf(line)] && !strings.Contains(line, "--cut ") {
				t.Errorf("%s shows %q, which is no example of the command's --help", page, commandOf(line))
			}
		}
	}
}

// commandOf is a line without its comment.
func commandOf(line string) string {
	return strings.TrimSpace(regexp.MustCompile(`\s+#.*`).ReplaceAllString(line, ""))
}
