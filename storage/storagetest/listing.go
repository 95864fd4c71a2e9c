package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"lakefeed/storage"
)

func testList(t *testing.T, s storage.Store) {
	before := time.Now().Add(-time.Minute)
	for _, name := range []string{"a/x", "a.b", "a-b/x", "a/x.y", "a0", "b"} {
		put(t, s, name, name)
	}
	put(t, s, "a/d/e/f", "deep")
	wantList(t, s, "", true, "a-b/x", "a.b", "a/d/e/f", "a/x", "a/x.y", "a0", "b")
	wantList(t, s, "", false, "a.b", "a0", "b")
	wantList(t, s, "a", true, "a/d/e/f", "a/x", "a/x.y")
	wantList(t, s, "a", false, "a/x", "a/x.y")
	wantList(t, s, "a/d", false)
	wantList(t, s, "a/d", true, "a/d/e/f")
	for folder, want := range map[string][]string{"": {"a.b", "a0", "b"}, "a": {"x", "x.y"}, "a/d": nil, "none": nil} {
		names, err := storage.Names(t.Context(), s, folder)
		sub, subErr := storage.Names(t.Context(), storage.Sub(s, folder), "")
		if err != nil || subErr != nil || !slices.Equal(names, want) || !slices.Equal(sub, want) {
			t.Errorf("names in %q: %q and %q, %v, %v; want %q", folder, names, sub, err, subErr, want)
		}
	}
	for i, err := range s.List(t.Context(), "a/d", true) {
		check(t, err)
		if i.Size != 4 || i.ModTime.Before(before) || i.ModTime.After(time.Now().Add(time.Minute)) {
			t.Errorf("info %+v", i)
		}
	}
}

func testListStops(t *testing.T, s storage.Store) {
	for i := range 5 {
		put(t, s, fmt.Sprintf("d%d/f", i), "")
	}
	seen := 0
	for _, err := range s.List(t.Context(), "", true) {
		check(t, err)
		if seen++; seen == 2 {
			break
		}
	}
	listing := s.List(t.Context(), "", true)
	put(t, s, "d0/later", "")
	for range 2 { // a listing can be run again, and lists what is there then
		n := 0
		for _, err := range listing {
			check(t, err)
			n++
		}
		if n != 6 {
			t.Errorf("listed %d files", n)
		}
	}
	// A caller may remove what it lists.
	for i, err := range s.List(t.Context(), "", true) {
		check(t, err)
		check(t, s.Delete(t.Context(), i.Name))
	}
	wantList(t, s, "", true)
}

func testDirs(t *testing.T, s storage.Store) {
	for _, name := range []string{"a-b/f", "a/f", "a/.x/f", "a/y/z/f", "file", ".hoodie/f"} {
		put(t, s, name, "")
	}
	for folder, want := range map[string][]string{"": {".hoodie", "a", "a-b"}, "a": {".x", "y"}, "a/y/z": nil} {
		dirs, err := s.Dirs(t.Context(), folder)
		if err != nil || !slices.Equal(dirs, want) {
			t.Errorf("dirs of %q: %q, %v; want %q", folder, dirs, err, want)
		}
	}
}

func testDelete(t *testing.T, s storage.Store) {
	put(t, s, "d/a", "1")
	put(t, s, "d/b", "2")
	check(t, s.Delete(t.Context(), "d/a"))
	check(t, s.Delete(t.Context(), "d/a"))
	wantAbsent(t, s, "d/a")
	want(t, s, "d/b", "2")
	put(t, s, "d/a", "3")
	want(t, s, "d/a", "3")
}

func testDeleteAll(t *testing.T, s storage.Store) {
	ctx := t.Context()
	for _, name := range []string{"d/a", "d/b/c", "d.x", "dd/a"} {
		put(t, s, name, "")
	}
	check(t, s.DeleteAll(ctx, "d"))
	wantList(t, s, "", true, "d.x", "dd/a")
	put(t, s, "d/b/c", "again") // the folders are made anew
	wantList(t, s, "d", true, "d/b/c")
	check(t, s.DeleteAll(ctx, ""))
	wantList(t, s, "", true)
	put(t, s, "d/b/c", "again")
	want(t, s, "d/b/c", "again")
}

func testRaceMatch(t *testing.T, s storage.Store) {
	ctx := t.Context()
	put(t, s, "f", "start")
	v := want(t, s, "f", "start")
	for range 5 {
		versions := make([]storage.Version, racers)
		won := winner(t, collect(racers, func(i int) (err error) {
			versions[i], err = s.PutIfMatch(ctx, "f", fmt.Append(nil, i, v), v)
			return err
		}), storage.ErrConflict)
		if got := want(t, s, "f", fmt.Sprint(won, v)); got != versions[won] {
			t.Errorf("version %q, the winner has %q", got, versions[won])
		}
		v = versions[won]
	}
	wantList(t, s, "", true, "f")
}

// testRaceCount counts with PutIfMatch alone: nothing may be lost.
func testRaceCount(t *testing.T, s storage.Store) {
	ctx := t.Context()
	put(t, s, "n", "0")
	const each = 5
	add := func() error {
		for {
			b, v, err := s.Get(ctx, "n")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(b))
			if err != nil {
				return err
			}
			if _, err = s.PutIfMatch(ctx, "n", fmt.Append(nil, n+1), v); !errors.Is(err, storage.ErrConflict) {
				return err
			}
		}
	}
	check(t, errors.Join(collect(racers/4, func(int) error {
		for range each {
			if err := add(); err != nil {
				return err
			}
		}
		return nil
	})...))
	want(t, s, "n", strconv.Itoa(racers/4*each))
}

// testRaceFolders writes in folders that others make and remove at the same time.
func testRaceFolders(t *testing.T, s storage.Store) {
	ctx := t.Context()
	check(t, errors.Join(collect(racers/2, func(i int) error {
		for round := range 4 {
			name := fmt.Sprintf("shared/%d/own%d/f", round, i)
			if err := s.Put(ctx, name, []byte(name)); err != nil {
				return err
			}
			if got, _, err := s.Get(ctx, name); err != nil || string(got) != name {
				return fmt.Errorf("%s is %q: %w", name, got, err)
			}
			if err := s.DeleteAll(ctx, fmt.Sprintf("shared/%d/own%d", round, i)); err != nil {
				return err
			}
			for _, err := range s.List(ctx, "shared", true) {
				if err != nil {
					return err
				}
			}
		}
		return nil
	})...))
	wantList(t, s, "", true)
}
