package hudi

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestForeignTables reads what is peculiar to tables of others.
func TestForeignTables(t *testing.T) {
	text := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	long := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	}
	for _, c := range []struct {
		name   string
		props  Properties
		fields []arrow.Field
		story  []string
		opts   ReadOptions
		want   []string
	}{
		{
			"without Hudi's columns, merged by the key field",
			Properties{propMetaFields: "false"},
			[]arrow.Field{text("id"), long("n")},
			[]string{`base [{"id":"a","n":1},{"id":"b","n":1},{"id":"c","n":1}]`, `log [{"id":"a","n":2},{"id":"d","n":2}]`, `parquet [{"id":"b","n":3}]`, `delete c`},
			ReadOptions{},
			[]string{`{"id":"a","n":2}`, `{"id":"b","n":3}`, `{"id":"d","n":2}`},
		},
		{
			"without Hudi's columns these are null",
			Properties{propMetaFields: "false"},
			[]arrow.Field{text("id"), long("n")},
			[]string{`base [{"id":"a","n":1}]`, `log [{"id":"b","n":2}]`},
			ReadOptions{Meta: true},
			[]string{`{"id":"a","n":1}`, `{"id":"b","n":2}`},
		},
		{
			"without Hudi's columns, by several key fields",
			Properties{propMetaFields: "false", propRecordKey: "id,n"},
			[]arrow.Field{text("id"), long("n"), text("a")},
			[]string{`base [{"id":"a","n":1,"a":"x"},{"id":"a","n":2,"a":"x"},{"id":"","n":3}]`, `log [{"id":"a","n":1,"a":"y"}]`, `delete id:a,n:2`, `delete id:__empty__,n:3`},
			ReadOptions{Columns: []string{"a"}},
			[]string{`{"a":"y"}`},
		},
		{
			"without Hudi's columns, deletes of the complex generator",
			Properties{propMetaFields: "false", propKeyGenerator: keygenComplex},
			[]arrow.Field{text("id")},
			[]string{`base [{"id":"a"},{"id":"b"}]`, `delete id:a`, `delete b`},
			ReadOptions{},
			nil,
		},
		{
			"several ordering fields",
			Properties{propPayload: payloadEventTime, propOrdering: "n,m"},
			[]arrow.Field{text("id"), long("n"), long("m"), text("a")},
			[]string{
				`base [{"id":"k","n":2,"m":5,"a":"base"},{"id":"j","n":2,"m":5,"a":"base"},{"id":"i","n":2,"m":5},{"id":"h","n":2,"m":5}]`,
				`log [{"id":"k","n":2,"m":4,"a":"late"},{"id":"j","n":2,"m":6,"a":"newer"}]`, `delete i array 2,4`, `delete h array 2,6`,
			},
			ReadOptions{Columns: []string{"id", "a"}},
			[]string{`{"id":"i"}`, `{"id":"j","a":"newer"}`, `{"id":"k","a":"base"}`},
		},
		{
			"a log compaction takes the place of what it merged", nil,
			[]arrow.Field{text("id"), text("a")},
			[]string{
				`base [{"id":"k","a":"base"},{"id":"j","a":"base"}]`, `log [{"id":"k","a":"1"},{"id":"j","a":"1"}]`, `log [{"id":"k","a":"2"}]`,
				`log [{"id":"j","a":"3"}]`, `compacted 20260101000000002,20260101000000003 [{"id":"k","a":"merged"},{"id":"j","a":"merged"}]`,
			},
			ReadOptions{},
			[]string{`{"id":"j","a":"3"}`, `{"id":"k","a":"merged"}`},
		},
		{
			"and a second one of that", nil,
			[]arrow.Field{text("id"), text("a")},
			[]string{
				`base []`, `log [{"id":"k","a":"1"}]`, `compacted 20260101000000002 [{"id":"k","a":"merged"}]`, `log [{"id":"j","a":"1"}]`,
				`compacted 20260101000000003,20260101000000004 [{"id":"k","a":"again"},{"id":"j","a":"again"}]`,
			},
			ReadOptions{},
			[]string{`{"id":"j","a":"again"}`, `{"id":"k","a":"again"}`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t, c.props, c.fields...)
			for _, line := range c.story {
				f.step(line)
			}
			got, err := f.read(c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}
