package pipeline_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"lakefeed/internal/everytype"
)

// TestCodePointsInLake has every character that text can hold copied and streamed into a table of the lake, in text, in an
// array and in JSON, and reads it back.
func TestCodePointsInLake(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, s text, a text[], j jsonb)", everytype.CodePoints("t", 0))
	r.drain()
	r.db.Exec(t, everytype.CodePoints("t", 272))
	r.drain()
	rows := r.printed("t")
	if len(rows) != 2*272 {
		t.Fatalf("%d rows", len(rows))
	}
	for id, row := range rows {
		var want []rune
		for c := max(id%272*4096, 1); c < (id%272+1)*4096; c++ {
			if c < 0xD800 || c > 0xDFFF {
				want = append(want, rune(c))
			}
		}
		var list []string
		var object struct{ S string }
		if err := errors.Join(json.Unmarshal([]byte(row["a"]), &list), json.Unmarshal([]byte(row["j"]), &object)); err != nil {
			t.Fatal(err)
		}
		if row["s"] != string(want) || !slices.Equal(list, []string{string(want)}) || object.S != string(want) {
			t.Errorf("part %d differs", id)
		}
	}
}
