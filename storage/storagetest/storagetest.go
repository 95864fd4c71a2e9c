// Package storagetest tests stores, and what stands on them.
//
// [Run] is the suite that every [storage.Store] passes. [Faulty] is a store of which
// one call fails, for crash tests of what is built on stores. [CrashFS] is a file
// system that loses its power, for those of storage/file.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lakefeed/storage"
)

// Run tests what [storage.Store] promises on stores that open makes, empty ones.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s storage.Store)
	}{
		{"Names", testNames},
		{"BadNames", testBadNames},
		{"Reader", testReader},
		{"Writer", testWriter},
		{"Abort", testAbort},
		{"Put", testPut},
		{"PutIfAbsent", testPutIfAbsent},
		{"PutIfMatch", testPutIfMatch},
		{"Missing", testMissing},
		{"FolderIsNoFile", testFolderIsNoFile},
		{"List", testList},
		{"ListStops", testListStops},
		{"Dirs", testDirs},
		{"Delete", testDelete},
		{"DeleteAll", testDeleteAll},
		{"RaceAbsent", testRaceAbsent},
		{"RaceMatch", testRaceMatch},
		{"RaceCount", testRaceCount},
		{"RaceFolders", testRaceFolders},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, open(t))
			test.run(t, storage.Sub(open(t), "sub/.folder"))
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s returned %v, want %v", what, err, want)
	}
}

func put(t *testing.T, s storage.Store, name, data string) {
	t.Helper()
	check(t, s.Put(t.Context(), name, []byte(data)))
}

// want checks the content of a file, as Get and as Open have it.
func want(t *testing.T, s storage.Store, name, data string) storage.Version {
	t.Helper()
	b, v, err := s.Get(t.Context(), name)
	check(t, err)
	r, err := s.Open(t.Context(), name)
	check(t, err)
	defer func() { check(t, r.Close()) }()
	opened, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	check(t, err)
	if string(b) != data || string(opened) != data || r.Size() != int64(len(data)) {
		t.Errorf("%s: Get has %q, Open %q of size %d, want %q", name, b, opened, r.Size(), data)
	}
	return v
}

func wantAbsent(t *testing.T, s storage.Store, name string) {
	t.Helper()
	_, _, err := s.Get(t.Context(), name)
	wantErr(t, "Get "+name, err, storage.ErrNotExist)
	_, err = s.Open(t.Context(), name)
	wantErr(t, "Open "+name, err, storage.ErrNotExist)
}

// list is the names that List yields.
func list(t *testing.T, s storage.Store, folder string, recursive bool) []string {
	t.Helper()
	var names []string
	for i, err := range s.List(t.Context(), folder, recursive) {
		check(t, err)
		names = append(names, i.Name)
	}
	return names
}

func wantList(t *testing.T, s storage.Store, folder string, recursive bool, names ...string) {
	t.Helper()
	if got := list(t, s, folder, recursive); !slices.Equal(got, names) {
		t.Errorf("list of %q (recursive %v): %q, want %q", folder, recursive, got, names)
	}
}

func testNames(t *testing.T, s storage.Store) {
	names := []string{
		".00000-0_1.log.1_0-0-0",
		".hoodie/.aux/ckp_meta",
		".hoodie/20240101000000000.commit",
		".hoodie/hoodie.properties",
		"d=2024-01-01/00000-0_1-2-3_20240101000000000.parquet",
		"größe/naïve 表 %2F &?#+.txt",
		strings.Repeat("long", 40),
		"x..y",
	}
	for _, name := range names {
		put(t, s, name, name)
	}
	for _, name := range names {
		want(t, s, name, name)
	}
	wantList(t, s, "", true, names...)
	for _, name := range names {
		check(t, s.Delete(t.Context(), name))
		wantAbsent(t, s, name)
	}
	wantList(t, s, "", true)
}

func testBadNames(t *testing.T, s storage.Store) {
	ctx := t.Context()
	for _, name := range []string{"", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "./a"} {
		_, err := s.Open(ctx, name)
		_, _, err2 := s.Get(ctx, name)
		_, err3 := s.Create(ctx, name)
		_, err4 := s.PutIfMatch(ctx, name, nil, "")
		errs := []error{err, err2, err3, err4, s.Put(ctx, name, nil), s.PutIfAbsent(ctx, name, nil)}
		if name != "" {
			_, err = s.Dirs(ctx, name)
			errs = append(errs, s.Delete(ctx, name), s.DeleteAll(ctx, name), err)
			for _, err := range s.List(ctx, name, true) {
				errs = append(errs, err)
			}
		}
		for i, err := range errs {
			if err == nil {
				t.Errorf("name %q: call %d took it", name, i)
			}
		}
	}
	wantList(t, s, "", true)
}

func testReader(t *testing.T, s storage.Store) {
	put(t, s, "f", "0123456789")
	r, err := s.Open(t.Context(), "f")
	check(t, err)
	put(t, s, "f", "other") // a reader keeps what it opened
	b := make([]byte, 4)
	if n, err := r.ReadAt(b, 3); n != 4 || err != nil || string(b) != "3456" {
		t.Errorf("read %d %q, %v", n, b, err)
	}
	if n, err := r.ReadAt(b, 8); n != 2 || !errors.Is(err, io.EOF) || string(b[:n]) != "89" {
		t.Errorf("read %d %q at the end, %v", n, b[:n], err)
	}
	if n, err := r.ReadAt(b, 10); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d past the end, %v", n, err)
	}
	check(t, r.Close())
	got, _, err := s.Get(t.Context(), "f")
	check(t, err)
	clear(got) // the caller's to change
	want(t, s, "f", "other")
}

func testWriter(t *testing.T, s storage.Store) {
	w, err := s.Create(t.Context(), "new/file")
	check(t, err)
	piece := bytes.Repeat([]byte("lake"), 1<<14)
	for range 8 {
		n, err := w.Write(piece)
		check(t, err)
		if n != len(piece) {
			t.Errorf("wrote %d of %d", n, len(piece))
		}
	}
	wantAbsent(t, s, "new/file")
	wantList(t, s, "", true)
	check(t, w.Commit())
	check(t, w.Abort()) // does nothing now
	if err := w.Commit(); err == nil {
		t.Error("committed twice")
	}
	want(t, s, "new/file", strings.Repeat(string(piece), 8))
	wantList(t, s, "", true, "new/file")

	over, err := s.Create(t.Context(), "new/file")
	check(t, err)
	_, err = over.Write([]byte("over"))
	check(t, err)
	want(t, s, "new/file", strings.Repeat(string(piece), 8))
	check(t, over.Commit())
	want(t, s, "new/file", "over")

	empty, err := s.Create(t.Context(), "empty")
	check(t, err)
	check(t, empty.Commit())
	want(t, s, "empty", "")
}

func testAbort(t *testing.T, s storage.Store) {
	put(t, s, "kept", "old")
	for _, name := range []string{"kept", "never"} {
		w, err := s.Create(t.Context(), name)
		check(t, err)
		_, err = w.Write([]byte("data"))
		check(t, err)
		check(t, w.Abort())
		check(t, w.Abort())
		if err := w.Commit(); err == nil {
			t.Errorf("%s was committed after Abort", name)
		}
	}
	want(t, s, "kept", "old")
	wantAbsent(t, s, "never")
	wantList(t, s, "", true, "kept")
}

func testPut(t *testing.T, s storage.Store) {
	data := []byte("one")
	check(t, s.Put(t.Context(), "a/b/c", data))
	copy(data, "two") // the store keeps no hold of it
	v1 := want(t, s, "a/b/c", "one")
	put(t, s, "a/b/c", "")
	v2 := want(t, s, "a/b/c", "")
	put(t, s, "a/b/c", "three")
	v3 := want(t, s, "a/b/c", "three")
	if v1 == v2 || v2 == v3 || v1 == v3 {
		t.Errorf("versions %q, %q, %q", v1, v2, v3)
	}
}

func testPutIfAbsent(t *testing.T, s storage.Store) {
	ctx := t.Context()
	check(t, s.PutIfAbsent(ctx, ".hoodie/x", []byte("first")))
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(ctx, ".hoodie/x", []byte("second")), storage.ErrExist)
	want(t, s, ".hoodie/x", "first")
	wantList(t, s, "", true, ".hoodie/x")
	check(t, s.Delete(ctx, ".hoodie/x"))
	check(t, s.PutIfAbsent(ctx, ".hoodie/x", []byte("third")))
	want(t, s, ".hoodie/x", "third")
}

func testPutIfMatch(t *testing.T, s storage.Store) {
	ctx := t.Context()
	_, err := s.PutIfMatch(ctx, "no/folder", []byte("x"), "")
	wantErr(t, "PutIfMatch without a file", err, storage.ErrConflict)
	wantAbsent(t, s, "no/folder")
	put(t, s, "f", "1")
	v1 := want(t, s, "f", "1")
	v2, err := s.PutIfMatch(ctx, "f", []byte("2"), v1)
	check(t, err)
	if got := want(t, s, "f", "2"); got != v2 {
		t.Errorf("PutIfMatch returned version %q, Get %q", v2, got)
	}
	_, err = s.PutIfMatch(ctx, "f", []byte("3"), v1)
	wantErr(t, "PutIfMatch over another version", err, storage.ErrConflict)
	want(t, s, "f", "2")
	v3, err := s.PutIfMatch(ctx, "f", []byte("3"), v2)
	check(t, err)
	check(t, s.Delete(ctx, "f"))
	_, err = s.PutIfMatch(ctx, "f", []byte("4"), v3)
	wantErr(t, "PutIfMatch after Delete", err, storage.ErrConflict)
	wantList(t, s, "", true)
}

func testMissing(t *testing.T, s storage.Store) {
	ctx := t.Context()
	wantAbsent(t, s, "no")
	wantAbsent(t, s, "no/such/file")
	wantList(t, s, "", true)
	wantList(t, s, "no/such", true)
	if dirs, err := s.Dirs(ctx, "no"); err != nil || len(dirs) > 0 {
		t.Errorf("dirs of no folder: %v, %v", dirs, err)
	}
	check(t, s.Delete(ctx, "no"))
	check(t, s.Delete(ctx, "no/such/file"))
	check(t, s.DeleteAll(ctx, "no/such"))
	check(t, s.DeleteAll(ctx, ""))
	put(t, s, "f", "x")
	wantAbsent(t, s, "f/below")
	wantList(t, s, "f", true)
}

func testFolderIsNoFile(t *testing.T, s storage.Store) {
	ctx := t.Context()
	put(t, s, "d/f", "x")
	wantAbsent(t, s, "d")
	check(t, s.Delete(ctx, "d"))
	want(t, s, "d/f", "x")
	check(t, s.DeleteAll(ctx, "d/f"))
	want(t, s, "d/f", "x")
}

// collect is for goroutines, which may not end the test.
func collect(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = call(i) })
	}
	wg.Wait()
	return errs
}

// winner is the one of which the call succeeded; all others have failed with lost.
func winner(t *testing.T, errs []error, lost error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Errorf("%d and %d both won", won, i)
		default:
			wantErr(t, fmt.Sprintf("loser %d", i), err, lost)
		}
	}
	if won < 0 {
		t.Fatal("nobody won")
	}
	return won
}

const racers = 16

func testRaceAbsent(t *testing.T, s storage.Store) {
	for round := range 5 {
		name := fmt.Sprintf("race/%d/f", round)
		won := winner(t, collect(racers, func(i int) error {
			return s.PutIfAbsent(context.WithoutCancel(t.Context()), name, fmt.Append(nil, i))
		}), storage.ErrExist)
		want(t, s, name, strconv.Itoa(won))
	}
}
