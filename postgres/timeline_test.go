package postgres

import (
	"slices"
	"testing"

	"lakefeed/change"
)

func TestParseHistory(t *testing.T) {
	t.Parallel()
	got, err := parseHistory([]byte("1\t0/3009050\tno recovery target specified\n\n# a comment\n2\t1/A0\tat restore point \"x\"\n"))
	want := []change.Branch{{Timeline: 1, At: 0x3009050}, {Timeline: 2, At: 0x1000000A0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1", "x\t0/1\ty", "1\tzero\ty", "99999999999\t0/1\ty"} {
		if got, err := parseHistory([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
