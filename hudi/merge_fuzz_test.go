package hudi

import (
	"bytes"
	"cmp"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/logfile"
	"lakefeed/storage/mem"
)

// FuzzOrdering keeps ordering values in the arena: they compare as the values do.
func FuzzOrdering(f *testing.F) {
	f.Add(int64(1), int64(2), "a", "a\x00", 0.5, -0.5)
	f.Add(int64(-1), int64(1), "", "\x00", math.Inf(-1), math.NaN())
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), "\xff", "\xff\x00\xff", 0.0, math.Copysign(0, -1))
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "s", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "d", Type: arrow.PrimitiveTypes.Float64},
	}, nil)
	f.Fuzz(func(t *testing.T, n1, n2 int64, s1, s2 string, d1, d2 float64) {
		o, err := newOrdering([]string{"s", "n", "d"}, schema)
		if err != nil {
			t.Fatal(err)
		}
		values := func(s string, n int64, d float64) []logfile.Value {
			return []logfile.Value{{Valid: true, Bytes: []byte(s)}, {Valid: true, Int: n}, {Valid: true, Float: d}}
		}
		kept := o.keep(o.keyOf(values(s1, n1, d1)))
		want := cmp.Or(bytes.Compare([]byte(s2), []byte(s1)), cmp.Compare(n2, n1), cmp.Compare(floatOrder(d2), floatOrder(d1)))
		if got := o.compare(o.keyOf(values(s2, n2, d2)), kept); got != want {
			t.Errorf("(%q, %d, %v) against (%q, %d, %v): %d, want %d", s2, n2, d2, s1, n1, d1, got, want)
		}
		if d1 < d2 && floatOrder(d1) >= floatOrder(d2) {
			t.Errorf("%v is not before %v", d1, d2)
		}
	})
}

// FuzzReadLog reads a slice whose log file is damaged in any way: rows or an error, never
// a panic.
func FuzzReadLog(f *testing.F) {
	for _, props := range []Properties{commitTime, eventTime, postgres, {propMetaFields: "false"}} {
		t := newForeignIn(f, mem.New(), props, mergeFields...)
		t.step(`base [{"id":"k","n":1,"_event_lsn":1}]`)
		for _, line := range []string{`log [{"id":"k","n":2,"_event_lsn":2,"a":` + gone + `}]`, `parquet [{"id":"j","n":2,"_event_lsn":3}]`, `partial id,n [{"id":"k","n":3}]`, `delete k long 7`} {
			before := t.logs
			t.step(line)
			if data, _, err := t.store.Get(f.Context(), logfile.FileName(foreignFile, t.base, before+1, "0-0-0")); err == nil {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, props := range []Properties{eventTime, postgres, {propMetaFields: "false"}} {
			table := newForeignIn(t, mem.New(), props, mergeFields...)
			table.step(`base [{"id":"k","n":1,"_event_lsn":1}]`)
			table.put(logfile.FileName(foreignFile, table.base, 1, "0-0-0"), data)
			_, _ = table.read(ReadOptions{})
		}
	})
}
