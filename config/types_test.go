package config_test

import (
	"reflect"
	"strings"
	"testing"

	"lakefeed/postgres"
)

// TestTypes joins what is said of a pipeline, a table and a column.
func TestTypes(t *testing.T) {
	c := parse(t, strings.Replace(tenLines, "match: public.*", `match: public.*
        types: {arrays: list, columns: {a: {arrays: text}, b: {out_of_range: stop}}}`, 1)+`    types: {out_of_range: QUARANTINE, composites: text, vectors: list, geometry: EWKB, columns: {a: {numeric: text}}}`)
	got := c.Pipelines[0].Source(nil).Types("public", "orders")
	want := postgres.TableTypes{
		OutOfRange: postgres.Quarantine, Arrays: postgres.ArrayList, Composites: postgres.CompositeText,
		Vectors: postgres.VectorList, Geometry: postgres.GeometryEWKB,
		Columns: map[string]postgres.TableTypes{"a": {Arrays: postgres.ArrayText, Numeric: postgres.NumericText}, "b": {OutOfRange: postgres.Stop}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
