package schema_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
)

// The columns of now: id, total (was price), a nested place with a renamed and an added
// field, and a note that took the name of one that was dropped.
const (
	schemaNow = `{"max_column_id":12,"version_id":20260101000000003,"type":"record","fields":[
		{"id":5,"name":"total","optional":true,"type":"double"},
		{"id":0,"name":"id","optional":false,"type":"string"},
		{"id":6,"name":"place","optional":true,"type":{"type":"record","fields":[
			{"id":7,"name":"town","optional":true,"type":"string"},{"id":11,"name":"zip","optional":true,"type":"string"}]}},
		{"id":8,"name":"stops","optional":true,"type":{"type":"array","element_id":9,"element":{"type":"record","fields":[
			{"id":10,"name":"at","optional":true,"type":"string"}]},"element_optional":true}},
		{"id":12,"name":"note","optional":true,"type":"decimal(10, 2)"}]}`
	schemaThen = `{"max_column_id":10,"version_id":20260101000000001,"type":"record","fields":[
		{"id":0,"name":"id","optional":false,"type":"string"},
		{"id":5,"name":"price","optional":true,"type":"float"},
		{"id":4,"name":"note","optional":true,"type":"string"},
		{"id":6,"name":"place","optional":true,"type":{"type":"record","fields":[{"id":7,"name":"city","optional":true,"type":"string"}]}},
		{"id":8,"name":"stops","optional":true,"type":{"type":"array","element_id":9,"element":{"type":"record","fields":[
			{"id":10,"name":"where","optional":true,"type":"string"}]},"element_optional":true}}]}`
)

func TestInternal(t *testing.T) {
	now, err := schema.ParseInternal(schemaNow)
	if err != nil {
		t.Fatal(err)
	}
	history, err := schema.ParseHistory([]byte(`{"schemas":[` + schemaNow + `,` + schemaThen + `]}`))
	if err != nil || len(history) != 2 || history[0].Version != 20260101000000001 {
		t.Fatalf("history %+v, %v", history, err)
	}
	str := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	want := arrow.NewSchema([]arrow.Field{
		str("_hoodie_record_key"), str("id"),
		{Name: "total", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "place", Type: arrow.StructOf(str("town"), str("zip")), Nullable: true},
		{Name: "stops", Type: arrow.ListOf(arrow.StructOf(str("at"))), Nullable: true},
		str("note"), str("elsewhere"),
	}, nil)
	var names []string
	for _, f := range now.In(history[0], want).Fields() {
		names = append(names, f.Name+" "+f.Type.String())
	}
	got := strings.ReplaceAll(strings.Join(names, "; "), "\x00", "!")
	if w := "_hoodie_record_key utf8; id utf8; price float64; place struct<city: utf8 nullable, !zip: utf8 nullable>; stops list<item: struct<where: utf8 nullable>, nullable>; !note utf8; elsewhere utf8"; got != w {
		t.Errorf("got  %s\nwant %s", got, w)
	}
	if same := now.In(now, want); !same.Equal(want) {
		t.Errorf("in its own files: %v", same)
	}
}

func TestInternalRefuses(t *testing.T) {
	if s, err := schema.ParseInternal(""); s != nil || err != nil {
		t.Errorf("nothing: %v, %v", s, err)
	}
	for _, text := range []string{`{`, `{"type":"array"}`, `{"type":"record","fields":[{"id":"x"}]}`, `[]`, `1`} {
		if _, err := schema.ParseInternal(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if _, err := schema.ParseHistory([]byte(`{"schemas":[null]}`)); err == nil {
		t.Error("a null in the history: no error")
	}
}

func FuzzParseInternal(f *testing.F) {
	f.Add(schemaNow)
	f.Add(schemaThen)
	want := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "place", Type: arrow.StructOf(arrow.Field{Name: "town", Type: arrow.BinaryTypes.String})}}, nil)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schema.ParseInternal(text)
		if err == nil && s != nil && s.In(s, want).NumFields() != 2 {
			t.Error("columns are lost")
		}
	})
}
