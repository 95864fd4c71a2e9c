package pipeline

import (
	"testing"

	"lakefeed/change"
)

// TestMasksOfTwoVersions meets what changes left out of a row while its table had columns of two numbers.
func TestMasksOfTwoVersions(t *testing.T) {
	t.Parallel()
	for _, masks := range [][2]string{{"\xff\x01", "\x03"}, {"\x03", "\xff\x01"}} {
		var f rowFate
		f.see(masks[0])
		f.see(masks[1])
		if string(f.mask) != "\x03" {
			t.Errorf("%q and %q make %q", masks[0], masks[1], f.mask)
		}
	}
}

// TestKeyMovesTwice has a row's key changed again before the row is read by its new one.
func TestKeyMovesTwice(t *testing.T) {
	t.Parallel()
	w, err := newWindow(&change.Table{}, t.TempDir(), 1<<20, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.moved = []movedKey{{5, []string{"before the first pass"}}, {20, []string{"k2"}}}
	w.begin(10, 10)
	if keys := w.takeMoved(); len(keys) != 1 || keys[0][0] != "k2" {
		t.Fatalf("to be read again: %q", keys)
	}
	w.moved = []movedKey{{50, []string{"k3"}}}
	w.begin(60, 60)
	if keys := w.takeMoved(); len(keys) != 1 || keys[0][0] != "k3" {
		t.Errorf("to be read again: %q", keys)
	}
}
