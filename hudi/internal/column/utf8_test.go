package column

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// texts are texts of which "-" is null.
func texts(all ...string) *array.String {
	b := array.NewStringBuilder(Allocator)
	for _, s := range all {
		if s == "-" {
			b.AppendNull()
		} else {
			b.Append(s)
		}
	}
	return b.NewStringArray()
}

// hideText makes rows null of which the bytes stay.
func hideText(col arrow.Array, valid ...byte) arrow.Array {
	d := col.Data()
	buffers := append([]*memory.Buffer{memory.NewBufferBytes(valid)}, d.Buffers()[1:]...)
	return array.MakeFromData(array.NewData(d.DataType(), d.Len(), buffers, d.Children(), array.UnknownNullCount, 0))
}

func TestFirstNotUTF8(t *testing.T) {
	t.Parallel()
	list := func(values arrow.Array, offsets ...int32) arrow.Array {
		typ := arrow.ListOf(values.DataType())
		return array.MakeFromData(array.NewData(typ, len(offsets)-1, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}, []arrow.ArrayData{values.Data()}, 0, 0))
	}
	pair := func(a, b arrow.Array) arrow.Array {
		s, err := array.NewStructArray([]arrow.Array{a, b}, []string{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mapOf := func(keys, values arrow.Array, offsets ...int32) arrow.Array {
		typ := arrow.MapOf(keys.DataType(), values.DataType())
		entries := Relabel(pair(keys, values), typ.Elem(), []arrow.ArrayData{keys.Data(), values.Data()})
		return array.MakeFromData(array.NewData(typ, len(offsets)-1, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}, []arrow.ArrayData{entries.Data()}, 0, 0))
	}
	some := texts("a", "é", "漢", "\xff", "b")
	for name, c := range map[string]struct {
		col  arrow.Array
		want int
	}{
		"none":                          {texts("a", "é", "-", "", "漢😀"), -1},
		"no rows":                       {texts(), -1},
		"all null":                      {texts("-", "-"), -1},
		"one":                           {some, 3},
		"far behind":                    {texts(append(slices.Repeat([]string{"é"}, 130), "\xc3", "\xa9")...), 130},
		"a part of it":                  {array.NewSlice(some, 1, 5), 2},
		"a part without it":             {array.NewSlice(some, 0, 3), -1},
		"a character over two rows":     {texts("x", "\xc3", "\xa9", "y"), 1},
		"a character over the end":      {array.NewSlice(texts("x", "\xc3", "\xa9"), 0, 2), 1},
		"a surrogate":                   {texts("x", "\xed\xa0\x80"), 1},
		"under null":                    {hideText(texts("\xff", "a"), 2), -1},
		"under null and not":            {hideText(texts("\xff", "\xff"), 2), 1},
		"bytes":                         {array.NewSlice(array.MakeFromData(array.NewData(arrow.BinaryTypes.Binary, 5, some.Data().Buffers(), nil, 0, 0)), 0, 5), -1},
		"a struct":                      {pair(texts("a", "b", "c"), texts("a", "\xff", "\xff")), 1},
		"a struct, the first of fields": {pair(texts("a", "b", "\xff"), texts("a", "\xff", "c")), 1},
		"a struct under null":           {hideText(pair(texts("a", "b"), texts("\xff", "a")), 2), -1},
		"a part of a struct":            {array.NewSlice(pair(texts("\xff", "b", "c"), texts("a", "b", "\xff")), 1, 3), 1},
		"a list":                        {list(some, 0, 0, 2, 5), 2},
		"a list without it":             {list(some, 0, 0, 2, 3), -1},
		"a part of a list":              {array.NewSlice(list(some, 0, 2, 4, 5), 1, 3), 0},
		"a part behind it":              {array.NewSlice(list(some, 0, 2, 4, 5), 2, 3), -1},
		"a list under null":             {hideText(list(some, 0, 2, 5), 1), -1},
		"a list of lists":               {list(list(some, 0, 1, 3, 5), 0, 1, 1, 3), 2},
		"a map's key":                   {mapOf(some, texts("1", "2", "3", "4", "5"), 0, 2, 5), 1},
		"a map's value":                 {mapOf(texts("1", "2", "3", "4", "5"), some, 0, 4, 5), 0},
	} {
		if got := FirstNotUTF8(c.col); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// FuzzFirstNotUTF8 holds what is looked at as a whole against each text alone.
func FuzzFirstNotUTF8(f *testing.F) {
	f.Add("a,é,漢\xe6,\xbc\xa2,")
	f.Fuzz(func(t *testing.T, all string) {
		parts := strings.Split(all, ",")
		want := -1
		for i, p := range parts {
			if p != "-" && !utf8.ValidString(p) {
				want = i
				break
			}
		}
		if got := FirstNotUTF8(texts(parts...)); got != want {
			t.Errorf("%q: %d, want %d", parts, got, want)
		}
	})
}

func BenchmarkFirstNotUTF8(b *testing.B) {
	for name, text := range map[string]string{"ascii": "a text of about thirty bytes, so", "others": "Ein Süßwasserfisch, größer als 漢"} {
		all := make([]string, 10000)
		for i := range all {
			all[i] = text
		}
		col := texts(all...)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text) * len(all)))
			for b.Loop() {
				if FirstNotUTF8(col) >= 0 {
					b.Fatal("it is text")
				}
			}
		})
	}
}
