package hudi

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestSchemaHistory reads a table whose columns were renamed, dropped, moved and typed
// anew, in the schema of now and in that of then.
func TestSchemaHistory(t *testing.T) {
	text := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	f := newForeign(t, nil, text("id"), arrow.Field{Name: "price", Type: arrow.PrimitiveTypes.Float32, Nullable: true}, text("note"),
		arrow.Field{Name: "place", Type: arrow.StructOf(text("city")), Nullable: true})
	f.step(`base [{"id":"a","price":0.1,"note":"old","place":{"city":"Oslo"}},{"id":"b","price":2,"note":"old","place":{"city":"Rome"}}]`)
	f.step(`log [{"id":"b","price":2.5,"note":"older","place":{"city":"Bern"}},{"id":"c","price":3}]`)

	then := `{"version_id":20260101000000001,"type":"record","fields":[{"id":0,"name":"id","type":"string"},{"id":1,"name":"price","type":"float"},` +
		`{"id":2,"name":"note","type":"string"},{"id":3,"name":"place","type":{"type":"record","fields":[{"id":4,"name":"city","type":"string"}]}}]}`
	now := `{"version_id":20260101000000003,"type":"record","fields":[{"id":1,"name":"total","type":"double"},{"id":0,"name":"id","type":"string"},` +
		`{"id":3,"name":"place","type":{"type":"record","fields":[{"id":5,"name":"zip","type":"string"},{"id":4,"name":"town","type":"string"}]}},{"id":6,"name":"note","type":"string"}]}`
	f.put(path.Join(schemaFolder, f.instant()+schemaSuffix), []byte(`{"schemas":[`+now+`,`+then+`]}`))
	f.put(path.Join(schemaFolder, "20270101000000000"+schemaSuffix), []byte(`{`)) // of a change that did not complete
	f.fields = []arrow.Field{
		{Name: "total", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		text("id"),
		{Name: "place", Type: arrow.StructOf(text("zip"), text("town")), Nullable: true},
		text("note"),
	}
	f.extra["latest_schema"] = now
	f.step(`log [{"id":"a","total":7,"place":{"zip":"1","town":"Bergen"},"note":"new"}]`)

	read := func(opts ReadOptions, want ...string) {
		t.Helper()
		got, err := f.read(opts)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got\n\t%s\nwant\n\t%s", opts, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	read(ReadOptions{}, `{"total":2.5,"id":"b","place":{"town":"Bern","zip":null}}`, `{"total":3,"id":"c"}`, `{"total":7,"id":"a","place":{"town":"Bergen","zip":"1"},"note":"new"}`)
	read(ReadOptions{ReadOptimized: true, Columns: []string{"total", "note"}}, `{"total":0.1}`, `{"total":2}`)
	read(ReadOptions{AsOf: "20260101000000002"}, `{"id":"a","price":0.1,"note":"old","place":{"city":"Oslo"}}`,
		`{"id":"b","price":2.5,"note":"older","place":{"city":"Bern"}}`, `{"id":"c","price":3}`)
	if _, err := f.open().Delete(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "latest_schema") {
		t.Errorf("a delete: %v", err)
	}
}
