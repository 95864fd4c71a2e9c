package file_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// gone stands for the content of a file that is not there.
const gone = "(not there)"

// model is what each file may hold: one content, or, where a call on it failed, what
// it held before and what it would hold.
type model map[string][]string

// step is one call, and what it is to make of the files.
type step struct {
	call string
	name string // of the file, or folder
	data string
}

// script has each call, on new and on known folders, over files, over what was
// removed before, and in folders that were removed before.
var script = []step{
	{"put", ".hoodie/hoodie.properties", "v1"},
	{"put", ".hoodie/hoodie.properties", "v2, longer"},
	{"absent", ".hoodie/timeline/1.commit.requested", ""},
	{"create", "d=1/a.parquet", "a long file, in pieces"},
	{"create", "d=1/deep/er/b.parquet", "another"},
	{"absent", ".hoodie/timeline/1.commit", "one"},
	{"put", ".hoodie/.temp/1/d=1/a.parquet.marker.CREATE", ""},
	{"put", ".hoodie/.temp/1/d=1/a.parquet.marker.CREATE", ""},
	{"put", ".hoodie/timeline/1.commit", ""},
	{"create", "d=1/a.parquet", "over"},
	{"match", ".hoodie/hoodie.properties", "v3"},
	{"delete", "d=1/a.parquet", ""},
	{"deleteall", "d=1", ""},
	{"create", "d=1/deep/er/c.parquet", "in folders that are made anew"},
	{"absent", "d=1/a.parquet", "back"},
	{"delete", "d=1/a.parquet", ""},
	{"deleteall", "d=1/deep", ""},
	{"match", ".hoodie/hoodie.properties", "v4"},
	{"deleteall", "", ""},
	{"put", ".hoodie/hoodie.properties", "new table"},
	{"deleteall", ".hoodie/none", ""},
	{"delete", "none/none", ""},
}

// run makes the call on a store.
func (st step) run(ctx context.Context, s storage.Store) error {
	switch st.call {
	case "put":
		return s.Put(ctx, st.name, []byte(st.data))
	case "absent":
		return s.PutIfAbsent(ctx, st.name, []byte(st.data))
	case "match":
		_, v, err := s.Get(ctx, st.name)
		if err == nil {
			_, err = s.PutIfMatch(ctx, st.name, []byte(st.data), v)
		}
		return err
	case "delete":
		return s.Delete(ctx, st.name)
	case "deleteall":
		return s.DeleteAll(ctx, st.name)
	}
	w, err := s.Create(ctx, st.name)
	if err != nil {
		return err
	}
	for piece := range strings.SplitAfterSeq(st.data, " ") {
		if _, err := w.Write([]byte(piece)); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// after is what the files may hold after the call, which returned nil or failed.
func (m model) after(st step, failed bool) {
	names, to := []string{st.name}, st.data
	switch st.call {
	case "delete":
		to = gone
	case "deleteall":
		names, to = nil, gone
		for name := range m {
			if st.name == "" || strings.HasPrefix(name, st.name+"/") {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		switch before := m[name]; {
		case !failed:
			m[name] = []string{to}
		case before == nil:
			m[name] = []string{gone, to}
		default:
			m[name] = append(before, to)
		}
	}
}

// see checks that each file holds what it may, and no others are there, and learns
// which it is: what was seen once may not change again.
func (m model) see(ctx context.Context, s storage.Store) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b, _, err := s.Get(ctx, name)
		held := string(b)
		if errors.Is(err, storage.ErrNotExist) {
			held = gone
		} else if err != nil {
			return err
		}
		if !slices.Contains(m[name], held) {
			errs = append(errs, fmt.Errorf("%s holds %q, want one of %q", name, held, m[name]))
		}
		m[name] = []string{held}
	}
	for i, err := range s.List(ctx, "", true) {
		if err != nil {
			return err
		}
		if held := m[i.Name]; held == nil || held[0] == gone {
			errs = append(errs, fmt.Errorf("%s is listed", i.Name))
		}
	}
	return errors.Join(errs...)
}

// work makes the calls from a step on, to the first that fails, and is the number of that one.
func (m model) work(ctx context.Context, s storage.Store, from int) (int, error) {
	for i := from; i < len(script); i++ {
		err := script[i].run(ctx, s)
		m.after(script[i], err != nil)
		if err != nil {
			return i, err
		}
	}
	return len(script), nil
}

// crash works until the power fails after some calls of the file system, or only the
// process dies there; looks what is there; goes on; and lets the power fail at the end.
// It reports what is lost, and whether the script came to its end before the first failure.
func crash(t *testing.T, fsys *storagetest.CrashFS, ops int, power bool, rng *rand.Rand) (ended bool, lost error) {
	t.Helper()
	ctx, m := t.Context(), model{}
	fsys.CrashAfter(ops)
	at, err := m.work(ctx, openFS(t, fsys), 0)
	if err != nil && !errors.Is(err, storagetest.ErrPowerOff) {
		t.Fatalf("step %d: %v", at, err)
	}
	if ended = err == nil; power {
		fsys.Crash(rng)
	} else {
		fsys.Kill()
	}
	s := openFS(t, fsys)
	check(t, s.Put(ctx, "lock", nil)) // as one that writes does first
	m["lock"] = []string{""}
	if err := m.see(ctx, s); err != nil {
		return ended, fmt.Errorf("at the first failure, in step %d: %w", at, err)
	}
	if rng.IntN(2) == 0 { // what was seen stays
		fsys.Crash(rng)
		if s = openFS(t, fsys); m.see(ctx, s) != nil {
			return ended, fmt.Errorf("what was seen after step %d: %w", at, m.see(ctx, s))
		}
	}
	if at < len(script) && script[at].call == "absent" {
		at++ // it may be there
	}
	if _, err := m.work(ctx, s, at); err != nil {
		return ended, fmt.Errorf("going on from step %d: %w", at, err)
	}
	fsys.Crash(rng)
	if err := m.see(ctx, openFS(t, fsys)); err != nil {
		return ended, fmt.Errorf("at the end, begun at step %d: %w", at, err)
	}
	return ended, nil
}

// crashes is the losses of crashes after each call of the file system, with each seed.
func crashes(t *testing.T, power bool, seeds uint64, set func(*storagetest.CrashFS)) (lost []error, runs int) {
	t.Helper()
	for seed := range seeds {
		for ops := 1; ; ops++ {
			fsys := storagetest.NewCrashFS()
			set(fsys)
			ended, err := crash(t, fsys, ops, power, rand.New(rand.NewPCG(seed, uint64(ops))))
			if runs++; err != nil {
				lost = append(lost, fmt.Errorf("seed %d, %d calls: %w", seed, ops, err))
			}
			if ended {
				break
			}
		}
	}
	return lost, runs
}

func TestSurvivesCrashes(t *testing.T) {
	for name, power := range map[string]bool{"power": true, "process": false} {
		t.Run(name, func(t *testing.T) {
			lost, runs := crashes(t, power, 20, func(*storagetest.CrashFS) {})
			for _, err := range lost[:min(len(lost), 5)] {
				t.Error(err)
			}
			t.Logf("%d crashes, %d losses", runs, len(lost))
		})
	}
}

// TestNoticesWhatIsNotSynced shows that the test above would fail without the syncs.
func TestNoticesWhatIsNotSynced(t *testing.T) {
	for name, set := range map[string]func(*storagetest.CrashFS){
		"files":   func(c *storagetest.CrashFS) { c.IgnoreSync = true },
		"folders": func(c *storagetest.CrashFS) { c.IgnoreSyncDir = true },
	} {
		lost, runs := crashes(t, true, 1, set)
		t.Logf("%s not synced: %d of %d crashes lose something", name, len(lost), runs)
		if len(lost) < runs/4 {
			t.Errorf("%s: only %d of %d crashes lose something", name, len(lost), runs)
		}
	}
}

// skipped is a file system on which one kind of SyncDir does nothing.
type skipped struct {
	*storagetest.CrashFS
	skip func(dir string) bool
}

func (s skipped) SyncDir(dir string) error {
	if s.skip(dir) {
		return nil
	}
	return s.CrashFS.SyncDir(dir)
}

// TestEachFolderIsSynced loses the entry of one folder on the path, be it above the
// root of the store, the root, or in it: each matters.
func TestEachFolderIsSynced(t *testing.T) {
	for _, unsynced := range []string{"", "/", "/data", "/data/lake", "/data/lake/a", "/data/lake/a/b"} {
		lost := false
		for seed := range uint64(20) {
			fsys := storagetest.NewCrashFS()
			s, err := file.OpenFS("/data/lake", skipped{fsys, func(dir string) bool { return dir == unsynced }})
			check(t, err)
			check(t, s.Put(t.Context(), "a/b/f", []byte("x")))
			fsys.Crash(rand.New(rand.NewPCG(seed, 0)))
			_, err = fsys.Stat("/data/lake/a/b/f")
			lost = lost || errors.Is(err, fs.ErrNotExist)
		}
		if lost != (unsynced != "") {
			t.Errorf("without a sync of %q: lost %v", unsynced, lost)
		}
	}
}

// TestRemovesWhatWasRemoved removes a second time what a process removed that died
// before it synced the folder: nothing is there, and still there is something to sync.
func TestRemovesWhatWasRemoved(t *testing.T) {
	for name, remove := range map[string]func(s storage.Store) error{
		"Delete":         func(s storage.Store) error { return s.Delete(t.Context(), "a/b/f") },
		"DeleteAll":      func(s storage.Store) error { return s.DeleteAll(t.Context(), "a") },
		"DeleteAll of b": func(s storage.Store) error { return s.DeleteAll(t.Context(), "a/b") },
	} {
		for seed := range uint64(10) {
			fsys := storagetest.NewCrashFS()
			s, err := file.OpenFS("/data/lake", skipped{fsys, func(string) bool { return true }})
			check(t, err)
			check(t, openFS(t, fsys).Put(t.Context(), "a/b/f", []byte("x")))
			if name == "Delete" {
				check(t, s.Delete(t.Context(), "a/b/f"))
			} else {
				check(t, s.DeleteAll(t.Context(), "a"))
			}
			fsys.Kill()
			check(t, remove(openFS(t, fsys)))
			fsys.Crash(rand.New(rand.NewPCG(seed, 0)))
			if _, err := fsys.Stat("/data/lake/a/b/f"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, seed %d: the file is back", name, seed)
			}
		}
	}
}

// onlyOnce lets one call fail, the next of its name.
func onlyOnce(fsys *storagetest.CrashFS, op string) {
	failed := false
	fsys.Fail = func(call, _ string) error {
		if failed || call != op {
			return nil
		}
		failed = true
		return errors.New("broken")
	}
}

// TestWhatIsSeenStays lets a folder not be synced after a file got its name in it,
// because the process died or the disk refused. Who sees the file after that, in
// whatever way, may count on it.
func TestWhatIsSeenStays(t *testing.T) {
	see := map[string]func(s *file.Store) error{
		"Get": func(s *file.Store) error { _, _, err := s.Get(t.Context(), "d/f"); return err },
		"List": func(s *file.Store) (err error) {
			for _, err = range s.List(t.Context(), "d", false) {
			}
			return err
		},
		"PutIfAbsent": func(s *file.Store) error {
			err := s.PutIfAbsent(t.Context(), "d/f", []byte("mine"))
			if errors.Is(err, storage.ErrExist) {
				return nil
			}
			return fmt.Errorf("it returned %w", err)
		},
	}
	for name, call := range see {
		for _, restart := range []bool{true, false} {
			for seed := range uint64(10) {
				fsys := storagetest.NewCrashFS()
				s := openFS(t, fsys)
				check(t, s.Put(t.Context(), "d/other", nil))
				check(t, see["List"](s)) // settled, until the next Put
				onlyOnce(fsys, "syncdir")
				if err := s.Put(t.Context(), "d/f", []byte("x")); err == nil {
					t.Fatal("the folder was synced")
				}
				if restart {
					fsys.Kill()
					s = openFS(t, fsys)
					if name != "PutIfAbsent" {
						check(t, s.Put(t.Context(), "lock", nil))
					}
				}
				check(t, call(s))
				fsys.Crash(rand.New(rand.NewPCG(seed, 0)))
				if b, _, err := openFS(t, fsys).Get(t.Context(), "d/f"); err != nil || string(b) != "x" {
					t.Errorf("%s saw the file, restart %v; then it holds %q, %v", name, restart, b, err)
				}
			}
		}
	}
}

// TestOldChecksumStaysAway overwrites a file that has one of Hadoop's checksums beside
// it: no crash leaves the new file with the old checksum.
func TestOldChecksumStaysAway(t *testing.T) {
	for seed := range uint64(30) {
		for ops, ended := 1, false; !ended; ops++ {
			fsys := storagetest.NewCrashFS()
			s := openFS(t, fsys)
			check(t, s.Put(t.Context(), "f", []byte("old")))
			_, err := fsys.Create("/data/lake/.f.crc")
			check(t, errors.Join(err, fsys.SyncDir("/data/lake")))
			fsys.CrashAfter(ops)
			ended = s.Put(t.Context(), "f", []byte("new")) == nil
			fsys.Crash(rand.New(rand.NewPCG(seed, 0)))
			b, _, err := openFS(t, fsys).Get(t.Context(), "f")
			check(t, err)
			if _, err := fsys.Stat("/data/lake/.f.crc"); err == nil && string(b) == "new" {
				t.Errorf("seed %d, %d calls: the old checksum is beside the new file", seed, ops)
			}
		}
	}
}
