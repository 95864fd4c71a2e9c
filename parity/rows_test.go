package parity_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// readAll lets the engines read a table side by side and returns their answers in
// the order of [parity.Engines].
func readAll(t *testing.T, table string, r parity.Read) (answers [][]string, errs []error) {
	t.Helper()
	return read(t, parity.Engines(t), table, r)
}

// read lets some engines read a table side by side.
func read(t *testing.T, engines []*parity.Engine, table string, r parity.Read) (answers [][]string, errs []error) {
	t.Helper()
	answers, errs = make([][]string, len(engines)), make([]error, len(engines))
	var all sync.WaitGroup
	for i, e := range engines {
		all.Go(func() { answers[i], errs[i] = e.Read(t.Context(), table, r) })
	}
	all.Wait()
	return answers, errs
}

// agreed returns a table's rows, in which every engine and lakefeed itself agree.
func agreed(t *testing.T, table string, r parity.Read) []string {
	t.Helper()
	r.NoMeta = true
	own := lakefeedRows(t, table, r)
	answers, errs := readAll(t, table, r)
	for i, e := range parity.Engines(t) {
		if errs[i] != nil {
			t.Errorf("%s: %s: %v", filepath.Base(table), e, errs[i])
		} else if d := parity.Diff(own, answers[i]); d != "" {
			t.Errorf("%s: lakefeed against %s: %s", filepath.Base(table), e, d)
		}
	}
	return own
}

// lakefeedRows are a table's rows as lakefeed prints them.
func lakefeedRows(t *testing.T, table string, r parity.Read, more ...string) []string {
	t.Helper()
	args := append([]string{"table", "read", table, "--format", "jsonl"}, more...)
	if r.Mode == "read_optimized" {
		args = append(args, "--read-optimized")
	}
	if r.AsOf != "" {
		args = append(args, "--as-of", r.AsOf)
	}
	if !r.NoMeta {
		args = append(args, "--meta")
	}
	cmd := laketest.Command(t.Context(), t, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lakefeed %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return slices.Collect(func(yield func(string) bool) {
		for line := range strings.Lines(string(out)) {
			if !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	})
}

// inStep checks that a table, as every engine and lakefeed itself read it, equals
// what PostgreSQL prints.
func inStep(t *testing.T, db *pgtest.Database, lake *laketest.Lake, name string) {
	t.Helper()
	want, err := parity.Postgres(t.Context(), db.URL, "public."+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	except := slices.Clone(parity.ExtraColumns)
	for column := range strings.SplitSeq(properties(t, folder(lake, name))["hoodie.table.partition.fields"], ",") {
		if len(want) > 0 && parse(t, want[0])[column] == nil { // derived of another
			except = append(except, column)
		}
	}
	if d := parity.Diff(want, agreed(t, folder(lake, name), parity.Read{}), except...); d != "" {
		t.Errorf("%s, source against lake: %s", name, d)
	}
}

func folder(lake *laketest.Lake, name string) string { return filepath.Join(lake.Dir, "public", name) }

// byID finds a row by the column id.
func byID(t *testing.T, rows []string, id string) row {
	t.Helper()
	for _, text := range rows {
		if r := parse(t, text); r.text("id") == id {
			return r
		}
	}
	t.Fatalf("no row has id %s", id)
	return nil
}

// row is a canonical row.
type row map[string]json.RawMessage

func parse(t *testing.T, text string) row {
	t.Helper()
	var r row
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r row) text(column string) string { return string(r[column]) }

// with is a copy of the row with a column's JSON in place of what it had.
func (r row) with(column, value string) row {
	c := maps.Clone(r)
	c[column] = json.RawMessage(value)
	return c
}

func (r row) String() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// without are the rows but those of some ids.
func without(t *testing.T, rows []string, ids ...string) []string {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(rows), func(text string) bool {
		return slices.Contains(ids, parse(t, text).text("id"))
	})
}

// lakefeedFails runs lakefeed, which must end with one of the codes given, and returns what it printed.
func lakefeedFails(t *testing.T, l *laketest.Lake, codes []int, args ...string) string {
	t.Helper()
	cmd := l.Command(t.Context(), args...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); !slices.Contains(codes, code) {
		t.Fatalf("lakefeed %s: %v, want one of the exit codes %v\n%s", strings.Join(args, " "), err, codes, out)
	}
	return string(out)
}
