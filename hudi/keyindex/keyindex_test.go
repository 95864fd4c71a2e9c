package keyindex_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"lakefeed/hudi/keyindex"
)

func openDB(t *testing.T, folder string) *keyindex.DB {
	t.Helper()
	db, err := keyindex.OpenDB(folder)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func load(t *testing.T, s *keyindex.Store, keys ...string) []string {
	t.Helper()
	got, err := s.Load(keys)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTablesShareAFolder keeps the keys of tables apart whose names begin alike.
func TestTablesShareAFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	db := openDB(t, folder)
	if _, err := keyindex.OpenDB(folder); err == nil {
		t.Error("a folder was opened twice")
	}
	for _, name := range []string{"a", "a/k", ""} {
		if err := db.Store(name).Save(map[string]string{"1": "of " + name, "2": "x"}, []byte("state "+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Store("a").Save(map[string]string{"2": "", "3": "y"}, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, folder)
	if got := load(t, db.Store("a"), "3", "2", "1"); !slices.Equal(got, []string{"y", "", "of a"}) {
		t.Errorf("got %q", got)
	}
	if err := db.Store("a").Clear(); err != nil {
		t.Fatal(err)
	}
	if state, err := db.Store("a").State(); state != nil || err != nil || load(t, db.Store("a"), "1")[0] != "" {
		t.Errorf("a cleared table has the state %s, %v", state, err)
	}
	for _, name := range []string{"a/k", ""} {
		if state, err := db.Store(name).State(); string(state) != "state "+name || err != nil || load(t, db.Store(name), "1")[0] != "of "+name {
			t.Errorf("%q has the state %s, %v", name, state, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamage opens what cannot be read, as an empty store.
func TestDamage(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	db := openDB(t, folder)
	if err := db.Store("a").Save(map[string]string{"1": "x"}, []byte("s")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "MANIFEST*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db = openDB(t, folder)
	if state, err := db.Store("a").State(); state != nil || err != nil {
		t.Errorf("a damaged store has the state %s, %v", state, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLoad looks for a tenth of a million keys, spread and some of them not there.
func BenchmarkLoad(b *testing.B) {
	db, err := keyindex.OpenDB(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s := db.Store("t")
	values := map[string]string{}
	for i := range 1_000_000 {
		if values[strconv.Itoa(i)] = "day=2026-01-02"; len(values) == 100_000 {
			if err := s.Save(values, nil); err != nil {
				b.Fatal(err)
			}
			clear(values)
		}
	}
	var keys []string
	for i := range 16384 {
		keys = append(keys, strconv.Itoa(i*67%1_100_000))
	}
	for b.Loop() {
		if _, err := s.Load(keys); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLoadMany looks for more keys than are looked for one by one.
func TestLoadMany(t *testing.T) {
	t.Parallel()
	db := openDB(t, t.TempDir())
	defer db.Close()
	values, keys := map[string]string{}, []string{}
	for i := range 1000 {
		keys = append(keys, strconv.Itoa(i*7919%1000))
		if i%3 > 0 {
			values[strconv.Itoa(i)] = fmt.Sprint("p", i%10)
		}
	}
	if err := errors.Join(db.Store("a").Save(values, nil), db.Store("b").Save(map[string]string{"0": "other"}, nil)); err != nil {
		t.Fatal(err)
	}
	for i, got := range load(t, db.Store("a"), keys...) {
		if got != values[keys[i]] {
			t.Errorf("key %s has %q, want %q", keys[i], got, values[keys[i]])
		}
	}
}
