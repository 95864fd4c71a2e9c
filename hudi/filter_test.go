package hudi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/scalar"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/schema"
)

// filterCase is a random filter, and what it is of a row as JSON, found in another way.
type filterCase struct {
	filter Filter
	text   string
	is     func(row map[string]any) truth
}

func randomFilter(rnd *rand.Rand, depth int) filterCase {
	if depth == 0 || rnd.IntN(3) == 0 {
		return randomComparison(rnd)
	}
	a, b := randomFilter(rnd, depth-1), randomFilter(rnd, depth-1)
	switch rnd.IntN(3) {
	case 0:
		return filterCase{And(a.filter, b.filter), "(" + a.text + " and " + b.text + ")", func(row map[string]any) truth {
			x, y := a.is(row), b.is(row)
			switch {
			case x == isFalse || y == isFalse:
				return isFalse
			case x == isTrue && y == isTrue:
				return isTrue
			}
			return isUnknown
		}}
	case 1:
		return filterCase{Or(a.filter, b.filter), "(" + a.text + " or " + b.text + ")", func(row map[string]any) truth {
			x, y := a.is(row), b.is(row)
			switch {
			case x == isTrue || y == isTrue:
				return isTrue
			case x == isFalse && y == isFalse:
				return isFalse
			}
			return isUnknown
		}}
	}
	return filterCase{Not(a.filter), "not " + a.text, func(row map[string]any) truth {
		switch a.is(row) {
		case isTrue:
			return isFalse
		case isFalse:
			return isTrue
		default:
			return isUnknown
		}
	}}
}

func randomComparison(rnd *rand.Rand) filterCase {
	n, text := rnd.Int64N(12), string(rune('a'+rnd.IntN(6)))
	how := []Comparison{Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual}[rnd.IntN(6)]
	column := []string{"n", "a"}[rnd.IntN(2)]
	if rnd.IntN(5) == 0 {
		return filterCase{IsNull(column), column + " is null", func(row map[string]any) truth {
			if row[column] == nil {
				return isTrue
			}
			return isFalse
		}}
	}
	order := func(v any) int { return strings.Compare(fmt.Sprint(v), text) }
	value := scalar.Scalar(scalar.NewStringScalar(text))
	if column == "n" {
		value = scalar.NewInt64Scalar(n)
		order = func(v any) int {
			got, _ := v.(json.Number).Int64()
			return int(got - n)
		}
	}
	filter := Compare(column, how, value)
	if how == Equal && rnd.IntN(2) == 0 {
		filter = In(column, value, value)
	}
	return filterCase{filter, fmt.Sprint(column, " ", how, " ", value), func(row map[string]any) truth {
		if row[column] == nil {
			return isUnknown
		}
		c := order(row[column])
		if map[Comparison]bool{Equal: c == 0, NotEqual: c != 0, Less: c < 0, LessEqual: c <= 0, Greater: c > 0, GreaterEqual: c >= 0}[how] {
			return isTrue
		}
		return isFalse
	}}
}

// On tables of every way of merging, whatever stands in base and logs, a filtered read
// yields the rows of a whole read of which the filter is true.
func TestFilterWhileMerging(t *testing.T) {
	t.Parallel()
	for _, props := range []Properties{{propPayload: payloadOverwrite, propPrecombine: "n"}, eventTime, postgres, nonNulls, partial} {
		t.Run(props[propPayload], func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 8 {
				f := newForeign(t, props, mergeFields...)
				f.step("base " + filterRows(rnd, 6))
				for range rnd.IntN(4) {
					f.step("log " + filterRows(rnd, 3))
					if rnd.IntN(3) == 0 {
						f.step("delete " + strconv.Itoa(rnd.IntN(8)))
					}
				}
				all, err := f.read(ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for range 12 {
					checkFilter(t, randomFilter(rnd, 2), all, func(where Filter) ([]string, error) { return f.read(ReadOptions{Filter: where}) })
				}
			}
		})
	}
}

// filterRows are rows as JSON, of few keys; a base file's values lie close together.
func filterRows(rnd *rand.Rand, n int) string {
	var rows []string
	low := rnd.IntN(10)
	for _, key := range rnd.Perm(8)[:n] {
		row := fmt.Sprintf(`{"id":"%d","_event_lsn":%d`, key, rnd.IntN(9))
		if rnd.IntN(5) > 0 {
			row += fmt.Sprintf(`,"n":%d`, low+rnd.IntN(3))
		}
		switch rnd.IntN(6) {
		case 0:
		case 1:
			row += `,"a":` + gone
		default:
			row += fmt.Sprintf(`,"a":"%c"`, 'a'+rnd.IntN(6))
		}
		rows = append(rows, row+"}")
	}
	return "[" + strings.Join(rows, ",") + "]"
}

func checkFilter(t *testing.T, c filterCase, all []string, read func(Filter) ([]string, error)) {
	t.Helper()
	var want []string
	for _, line := range all {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		var row map[string]any
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		if c.is(row) == isTrue {
			want = append(want, line)
		}
	}
	got, err := read(c.filter)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("where %s, of\n\t%s\ngot\n\t%s\nwant\n\t%s", c.text, strings.Join(all, "\n\t"), strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// What pages and row groups leave out is what the filter is not true of, in files of
// any writer, of columns of every type.
func TestFilterPrunes(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	sc := basetest.Schema()
	avro, err := schema.FromArrow("my-table", sc)
	if err != nil {
		t.Fatal(err)
	}
	pruned, rows := int64(0), int64(0)
	for n := range 8 {
		keys := make([]string, 150)
		for i := range keys {
			keys[i] = strconv.Itoa(1000 + i)
		}
		batch := basetest.Rows(rnd, sc, keys, "f.parquet")
		data := smallPages(t, avro, batch)
		if n%2 == 1 {
			data = basetest.Foreign(t, rnd, avro, batch)
		}
		for range 12 {
			filter := filterOn(t, rnd, sc, batch)
			c, err := filter.bind(sc, rnd.IntN(4) == 0)
			if err != nil {
				t.Fatal(err)
			}
			read := checkPruned(t, &c, data, sc)
			pruned, rows = pruned+int64(len(keys))-read, rows+int64(len(keys))
		}
	}
	if pruned < rows/10 {
		t.Errorf("only %d of %d rows were left out", pruned, rows)
	}
}

// smallPages is a base file of several row groups, each of many pages.
func smallPages(t *testing.T, avro string, batch arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := basefile.NewWriter(&out, basefile.WriterOptions{AvroSchema: avro, Schema: batch.Schema(), RowGroupBytes: 20_000, PageBytes: 300})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Write(batch)
	if _, closing := w.Close(); err != nil || closing != nil {
		t.Fatal(err, closing)
	}
	return out.Bytes()
}

// filterOn compares a random column with a value that it has.
func filterOn(t *testing.T, rnd *rand.Rand, sc *arrow.Schema, batch arrow.RecordBatch) Filter {
	t.Helper()
	for {
		i := rnd.IntN(sc.NumFields())
		col, row := batch.Column(i), rnd.IntN(int(batch.NumRows()))
		name := sc.Field(i).Name
		if basefile.KindOf(col.DataType()) == basefile.NoKind || rnd.IntN(8) == 0 {
			return IsNull(name)
		}
		if col.IsNull(row) {
			continue
		}
		v, err := scalar.GetScalar(col, row)
		if err != nil {
			t.Fatal(err)
		}
		return Compare(name, []Comparison{Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual}[rnd.IntN(6)], v)
	}
}

// checkPruned reads a file by a condition, and returns how many rows it looked at.
func checkPruned(t *testing.T, c *condition, data []byte, sc *arrow.Schema) (looked int64) {
	t.Helper()
	count := func(next func() (arrow.RecordBatch, error)) (rows, hits int64) {
		for {
			batch, err := next()
			if errors.Is(err, io.EOF) {
				return rows, hits
			}
			if err != nil {
				t.Fatal(err)
			}
			truths, err := c.eval(batch)
			if err != nil {
				t.Fatal(err)
			}
			rows += batch.NumRows()
			for _, is := range truths {
				if is == isTrue {
					hits++
				}
			}
			batch.Release()
		}
	}
	r, err := basefile.Open(bytes.NewReader(data), int64(len(data)), sc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, want := count(r.Next)
	p, err := basefile.OpenRows(bytes.NewReader(data), int64(len(data)), sc, c.ranges)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	looked, got := count(p.Next)
	if got != want {
		t.Fatalf("%+v: %d rows, want %d", c, got, want)
	}
	return looked
}

// TestFilterValues compares values of each type.
func TestFilterValues(t *testing.T) {
	t.Parallel()
	batch := basetest.Batch(t)
	text := func(s string) scalar.Scalar { return scalar.NewStringScalar(s) }
	for _, c := range []struct {
		filter Filter
		want   string // the ids, or the error
	}{
		{Filter{}, "9 10 11"},
		{Compare("id", GreaterEqual, scalar.NewInt32Scalar(10)), "10 11"},
		{Compare("id", Less, text("10")), "9"},
		{Compare("i", NotEqual, scalar.NewInt64Scalar(0)), "9"},
		{Not(Compare("i", Equal, scalar.NewInt64Scalar(0))), "9"},
		{Not(IsNull("i")), "9 11"},
		{Or(IsNull("i"), Compare("i", Less, text("-4"))), "9 10"},
		{Compare("f", Greater, scalar.NewFloat64Scalar(1.25)), "9"},
		{Compare("d", Less, scalar.NewInt64Scalar(0)), "9"},
		{Compare("d", Equal, scalar.NewFloat64Scalar(math.NaN())), ""},
		{Compare("d", NotEqual, scalar.NewFloat64Scalar(math.NaN())), "9 11"},
		{Compare("b", Equal, scalar.NewBooleanScalar(true)), "9"},
		{Compare("b", Equal, text("false")), "11"},
		{In("s", text("grüße 😀"), text("")), "9 11"},
		{Compare("raw", Equal, text("")), "11"},
		{Compare("day", Less, text("1600-01-01")), "9"},
		{Compare("ts", Greater, text("2000-01-01T00:00:00Z")), "11"},
		{Compare("small", Less, text("-1234567.88")), "9"},
		{Compare("price", GreaterEqual, scalar.NewInt64Scalar(99999999999999)), "11"},
		{Compare("big", Less, text("0.0")), "9"},
		{IsNull("tags"), "10"},
		{And(), "9 10 11"},
		{Or(), ""},
		{Compare("small", Equal, text("0.001")), "column small: \"0.001\" has more digits than type decimal(9, 2)"},
		{Compare("i", Equal, scalar.NewInt64Scalar(1<<40)), "column i: \"1099511627776\" is no value of type int32"},
		{Compare("i", Equal, scalar.NewFloat64Scalar(1)), "column i: it is int32, and the value float64"},
		{Compare("tags", Equal, text("a")), "column tags: values of type list"},
		{Compare("id", Equal, scalar.MakeNullScalar(arrow.PrimitiveTypes.Int64)), "column id: compared with null"},
		{Compare("nope", Equal, text("a")), "nope"},
		{Compare("id", "~", text("a")), "column id: no such comparison"},
	} {
		got, err := filterIDs(t, c.filter, batch)
		if err != nil {
			got = err.Error()
			if c.want != "" && strings.Contains(got, c.want) {
				continue
			}
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.filter, got, c.want)
		}
	}
}

func filterIDs(t *testing.T, f Filter, batch arrow.RecordBatch) (string, error) {
	t.Helper()
	wanted := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	c, read, err := f.plan(batch.Schema(), wanted)
	if err != nil {
		return "", err
	}
	var ids []string
	note := func(rows arrow.RecordBatch) error {
		for i := range int(rows.NumRows()) {
			ids = append(ids, rows.Column(0).(*array.Int64).ValueStr(i))
		}
		return nil
	}
	if c != nil {
		note = c.filtered(wanted, note)
	}
	rows, err := conform(t.Context(), batch, read)
	if err != nil {
		return "", err
	}
	err = note(rows)
	return strings.Join(ids, " "), err
}

// Partitions that a filter rules out are not looked into.
func TestFilterPartitions(t *testing.T) {
	t.Parallel()
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "place", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	text := func(s string) scalar.Scalar { return scalar.NewStringScalar(s) }
	hive := partitioning{[]string{"place", "n"}, true, true}
	for _, c := range []struct {
		filter Filter
		by     partitioning
		path   string
		want   bool
	}{
		{Compare("place", Equal, text("eu")), hive, "place=eu/n=5", true},
		{Compare("place", Equal, text("us")), hive, "place=eu/n=5", false},
		{Compare("place", Equal, text("a/b")), hive, "place=a%2Fb/n=5", true},
		{And(Compare("place", Equal, text("eu")), Compare("n", Greater, text("5"))), hive, "place=eu/n=5", false},
		{Or(Compare("place", Equal, text("us")), Compare("n", Equal, text("5"))), hive, "place=eu/n=5", true},
		{IsNull("place"), hive, "place=eu/n=5", false},
		{IsNull("place"), hive, "place=" + defaultPartition + "/n=5", true},
		{Compare("place", Equal, text("")), hive, "place=" + defaultPartition + "/n=5", true},
		{Compare("n", Equal, text("6")), hive, "place=eu/n=x", true},
		{Compare("n", Equal, text("6")), partitioning{fields: []string{"n"}}, "5", false},
		{Compare("place", Equal, text("us")), partitioning{fields: []string{"n"}}, "5", true},
		{Compare("n", Equal, text("6")), partitioning{fields: []string{"n"}}, "2026/01", true},
	} {
		bound, err := c.filter.bind(sc, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := bound.mayPartition(c.by, c.path); got != c.want {
			t.Errorf("%+v in %s: %v", c.filter, c.path, got)
		}
	}
}
