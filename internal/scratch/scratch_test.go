package scratch_test

import (
	"os"
	"path/filepath"
	"testing"

	"lakefeed/internal/scratch"
)

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	f, err := scratch.Create(dir, "rows")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("held"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "held" {
		t.Errorf("read %q, %v", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	if _, err := scratch.Create(filepath.Join(dir, "none"), "rows"); err == nil {
		t.Error("made a file in a folder that is not there")
	}
}
