package storagetest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// work makes one call of each kind, and goes on after errors.
func work(t *testing.T, s storage.Store) []error {
	t.Helper()
	ctx := t.Context()
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	w, err := s.Create(ctx, "d/created")
	if err != nil {
		return append(errs, err)
	}
	_, err = w.Write([]byte("data"))
	note(err)
	note(w.Commit())
	note(s.Put(ctx, "d/put", []byte("1")))
	note(s.PutIfAbsent(ctx, "d/absent", []byte("2")))
	_, v, err := s.Get(ctx, "d/put")
	if err == nil {
		_, err = s.PutIfMatch(ctx, "d/put", []byte("3"), v)
	}
	note(err)
	note(s.Delete(ctx, "d/absent"))
	note(s.DeleteAll(ctx, "d"))
	return errs
}

func names(t *testing.T, s storage.Store) []string {
	t.Helper()
	var all []string
	for i, err := range s.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i.Name)
	}
	return all
}

func TestFaultyCounts(t *testing.T) {
	var seen []storagetest.Call
	f := storagetest.NewFaulty(mem.New(), storagetest.Fault{Hook: func(n int, c storagetest.Call) {
		if seen = append(seen, c); n != len(seen) {
			t.Errorf("the hook saw number %d for call %d", n, len(seen))
		}
	}})
	if err := errors.Join(work(t, f)...); err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, c := range f.Calls() {
		ops = append(ops, c.Op)
	}
	want := []string{"Write", "Commit", "Put", "PutIfAbsent", "PutIfMatch", "Delete", "DeleteAll"}
	if !slices.Equal(ops, want) || !slices.Equal(seen, f.Calls()) || f.Fired() {
		t.Errorf("calls %v, seen %v, fired %v", f.Calls(), seen, f.Fired())
	}
}

func TestFaultyFailsOneCall(t *testing.T) {
	for at := 1; at <= 7; at++ {
		f := storagetest.NewFaulty(mem.New(), storagetest.Fault{At: at})
		for i, err := range work(t, f) {
			if errors.Is(err, storagetest.ErrFault) != (i+1 == at) && at != 3 { // without Put, PutIfMatch finds nothing
				t.Errorf("fault at %d: call %d returned %v", at, i+1, err)
			}
		}
		if !f.Fired() {
			t.Errorf("fault at %d did not come", at)
		}
	}
}

func TestFaultyDeadProcess(t *testing.T) {
	for _, when := range []storagetest.When{storagetest.Before, storagetest.After, storagetest.Partly} {
		s := mem.New()
		f := storagetest.NewFaulty(s, storagetest.Fault{At: 7, When: when, Dead: true})
		work(t, f)
		want := map[storagetest.When][]string{
			storagetest.Before: {"d/created", "d/put"},
			storagetest.After:  nil,
			storagetest.Partly: {"d/put"},
		}[when]
		if got := names(t, s); !slices.Equal(got, want) {
			t.Errorf("when %d: left %v, want %v", when, got, want)
		}
		if _, _, err := f.Get(t.Context(), "d/put"); !errors.Is(err, storagetest.ErrFault) {
			t.Errorf("when %d: a dead process read: %v", when, err)
		}
		if err := f.Put(t.Context(), "x", nil); !errors.Is(err, storagetest.ErrFault) || len(f.Calls()) != 7 {
			t.Errorf("when %d: a dead process wrote: %v", when, err)
		}
	}
}

func TestFaultyOnly(t *testing.T) {
	f := storagetest.NewFaulty(mem.New(), storagetest.Fault{
		At: 1, When: storagetest.After,
		Only: func(c storagetest.Call) bool { return c.Op == "Commit" },
	})
	errs := work(t, f)
	if err := errs[1]; !errors.Is(err, storagetest.ErrFault) || err.Error() != "Commit d/created: injected fault" {
		t.Errorf("commit returned %v", err)
	}
	if err := errors.Join(slices.Delete(errs, 1, 2)...); err != nil || len(f.Calls()) != 1 {
		t.Errorf("others failed: %v, calls %v", err, f.Calls())
	}
}

// readAll makes a call of each kind that reads, on four files of a folder.
func readAll(t *testing.T, s storage.Store) (got []string, errs []error) {
	t.Helper()
	ctx := t.Context()
	note := func(what string, err error) { got, errs = append(got, what), append(errs, err) }
	b, _, err := s.Get(ctx, "d/1")
	note(string(b), err)
	var listed []string
	err = nil
	for i, failed := range s.List(ctx, "d", false) {
		if err = failed; failed == nil {
			listed = append(listed, i.Name)
		}
	}
	note(strings.Join(listed, " "), err)
	dirs, err := s.Dirs(ctx, "")
	note(strings.Join(dirs, " "), err)
	r, err := s.Open(ctx, "d/1")
	note("", err)
	if err == nil {
		p := make([]byte, 4)
		n, err := r.ReadAt(p, 0)
		note(string(p[:n]), err)
	}
	return got, errs
}

func TestFaultyReads(t *testing.T) {
	t.Parallel()
	for when, want := range [][]string{
		storagetest.Before: {"", "", "", "", ""},
		storagetest.After:  {"", "d/1 d/2 d/3 d/4", "", "", ""},
		storagetest.Partly: {"", "d/1 d/2", "", "", "fo"},
	} {
		for at := range 6 {
			inner := mem.New()
			f := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: storagetest.When(when), Reads: true, Only: storagetest.Call.Reads})
			for _, name := range []string{"d/1", "d/2", "d/3", "d/4"} {
				if err := f.Put(t.Context(), name, []byte("four")); err != nil { // not counted
					t.Fatal(err)
				}
			}
			whole, _ := readAll(t, inner)
			got, errs := readAll(t, f)
			for i, err := range errs {
				expect := whole[i]
				if i+1 == at {
					expect = want[i]
				}
				if errors.Is(err, storagetest.ErrFault) != (i+1 == at) || got[i] != expect {
					t.Errorf("when %d, fault at %d: call %d returned %q, %v; want %q", when, at, i+1, got[i], err, expect)
				}
			}
			if f.Fired() != (at > 0) || at == 0 && len(f.Calls()) != 5 {
				t.Errorf("fault at %d: fired %v, calls %v", at, f.Fired(), f.Calls())
			}
		}
	}
}
