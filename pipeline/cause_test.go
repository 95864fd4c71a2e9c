package pipeline

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestCauses(t *testing.T) {
	t.Parallel()
	full := errors.New("disk is full")
	err := joinTables([]*TableError{{"s.a", errors.New("s.a was dropped")}, {"s.b", full}, {"s.c", errors.New("s.c was dropped")}})
	want := "tables s.a, s.c: the table was dropped\ntable s.b: disk is full"
	if err == nil || err.Error() != want || !errors.Is(err, full) {
		t.Errorf("%v, want %s", err, want)
	}
	if one, ok := errors.AsType[*TableError](err); !ok || one.Table != "s.a" {
		t.Errorf("no table's error in %v", err)
	}
	if err := joinTables(nil); err != nil {
		t.Error(err)
	}
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	lines := StopTexts([]TableStatus{
		{Table: "s.a", Error: "no space in s/a", Since: at},
		{Table: "s.ok"},
		{Table: "s.b", Error: "no space in s/b", Since: at},
		{Table: "s.c", Error: "gone", Since: at},
	})
	if want := []string{"s.a, s.b stopped: no space in (the table's folder)", "s.c stopped at 2020-01-02 03:04:05 UTC: gone"}; !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}
