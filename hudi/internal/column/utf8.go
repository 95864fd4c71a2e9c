package column

import (
	"sort"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// FirstNotUTF8 is the first row in which a column, or what is nested in it, has text that is not
// UTF-8; -1 where there is none.
func FirstNotUTF8(col arrow.Array) int { return firstNotUTF8(col, func(int) bool { return true }) }

// firstNotUTF8 asks only for text whether it counts: what stands under a null does not.
func firstNotUTF8(col arrow.Array, counts func(row int) bool) int {
	if col.NullN() == col.Len() {
		return -1
	}
	known := func(row int) bool { return col.IsValid(row) && counts(row) }
	switch col := col.(type) {
	case *array.String:
		return firstTextNotUTF8(col, known)
	case *array.Struct:
		first := -1
		for i := range col.NumField() {
			if row := firstNotUTF8(col.Field(i), known); row >= 0 && (first < 0 || row < first) {
				first = row
			}
		}
		return first
	case *array.List:
		return firstNotUTF8In(col, known)
	case *array.Map:
		return firstNotUTF8In(col.List, known)
	}
	return -1
}

// firstTextNotUTF8 looks at the texts of some rows at once, which is fast where these are all in
// ASCII, and at each alone where something is wrong with them.
func firstTextNotUTF8(col *array.String, counts func(row int) bool) int {
	const some = 64
	offsets, text := offsetsOf(col), bytesOf(col, 2)
	for from := 0; from < col.Len(); from += some {
		to := min(from+some, col.Len())
		if allUTF8(text, offsets[from:to+1]) {
			continue
		}
		for row := from; row < to; row++ {
			if !utf8.ValidString(col.Value(row)) && counts(row) {
				return row
			}
		}
	}
	return -1
}

// allUTF8 tells whether texts between offsets are UTF-8, and none begins in the midst of a character.
func allUTF8(text []byte, offsets []int32) bool {
	last := offsets[len(offsets)-1]
	if !utf8.Valid(text[offsets[0]:last]) {
		return false
	}
	for _, o := range offsets {
		if o < last && !utf8.RuneStart(text[o]) {
			return false
		}
	}
	return true
}

func firstNotUTF8In(lists *array.List, counts func(row int) bool) int {
	offsets := offsetsOf(lists)[:lists.Len()+1]
	values := array.NewSlice(lists.ListValues(), int64(offsets[0]), int64(offsets[lists.Len()]))
	defer values.Release()
	rowOf := func(i int) int {
		return sort.Search(lists.Len(), func(row int) bool { return int(offsets[row+1]-offsets[0]) > i })
	}
	i := firstNotUTF8(values, func(i int) bool { return counts(rowOf(i)) })
	if i < 0 {
		return -1
	}
	return rowOf(i)
}
