package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

var _ file.FS = (*storagetest.CrashFS)(nil)

func TestStoreOnDisk(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return open(t, filepath.Join(t.TempDir(), "new", "lake"))
	})
}

func TestStoreOnCrashFS(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store { return openFS(t, storagetest.NewCrashFS()) })
}

func open(t *testing.T, root string) *file.Store {
	t.Helper()
	s, err := file.Open(root)
	check(t, err)
	return s
}

func openFS(t *testing.T, fsys file.FS) *file.Store {
	t.Helper()
	s, err := file.OpenFS("/data/lake", fsys)
	check(t, err)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantNames checks what is in a folder of the disk.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %q, want %q", dir, names, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := file.Open(""); err == nil {
		t.Error("no name was taken for a folder")
	}
	name := filepath.Join(t.TempDir(), "f")
	check(t, os.WriteFile(name, nil, 0o600))
	if _, err := file.Open(name); err == nil || !strings.Contains(err.Error(), "it is a file") {
		t.Errorf("open of a file: %v", err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	s, ctx := open(t, dir), t.Context()
	check(t, s.Put(ctx, "f", []byte("1")))
	_, v, err := s.Get(ctx, "f")
	check(t, err)
	_, err = s.PutIfMatch(ctx, "f", []byte("2"), v)
	check(t, err)
	if _, err = s.PutIfMatch(ctx, "f", []byte("3"), v); !errors.Is(err, storage.ErrConflict) {
		t.Error(err)
	}
	check(t, s.PutIfAbsent(ctx, "g", nil))
	if err = s.PutIfAbsent(ctx, "g", nil); !errors.Is(err, storage.ErrExist) {
		t.Error(err)
	}
	w, err := s.Create(ctx, "h")
	check(t, err)
	check(t, w.Abort())
	wantNames(t, dir, "f", "g")
}

func TestChecksumsOfHadoop(t *testing.T) {
	dir := t.TempDir()
	s, ctx := open(t, dir), t.Context()
	side := func(name string) { check(t, os.WriteFile(filepath.Join(dir, "."+name+".crc"), nil, 0o600)) }
	side("put")
	check(t, s.Put(ctx, "put", nil))
	side("created")
	w, err := s.Create(ctx, "created")
	check(t, err)
	check(t, w.Commit())
	side("absent")
	check(t, s.PutIfAbsent(ctx, "absent", nil))
	check(t, s.Put(ctx, "gone", nil))
	side("gone")
	side("other")
	check(t, s.Delete(ctx, "gone"))
	wantNames(t, dir, ".other.crc", "absent", "created", "put")
	for i, err := range s.List(ctx, "", true) {
		check(t, err)
		if strings.HasSuffix(i.Name, ".crc") {
			t.Errorf("listed %s", i.Name)
		}
	}
}

func TestSweepsOldTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	for name, age := range map[string]time.Duration{".lakefeed-tmp-old": 25 * time.Hour, ".lakefeed-tmp-young": time.Hour, "file": 99 * time.Hour} {
		name = filepath.Join(dir, "d", name)
		check(t, os.WriteFile(name, nil, 0o600))
		check(t, os.Chtimes(name, time.Time{}, time.Now().Add(-age)))
	}
	check(t, open(t, dir).Put(t.Context(), "d/new", nil))
	wantNames(t, filepath.Join(dir, "d"), ".lakefeed-tmp-young", "file", "new")
}

func TestFolderRemovedByAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lake")
	s := open(t, dir)
	check(t, s.Put(t.Context(), "a/b/f", nil))
	check(t, os.RemoveAll(dir))
	check(t, s.Put(t.Context(), "a/b/f", []byte("again")))
	check(t, os.RemoveAll(filepath.Join(dir, "a")))
	check(t, s.Put(t.Context(), "a/b/f", []byte("again")))
	wantNames(t, filepath.Join(dir, "a", "b"), "f")
}

func TestFileWhereAFolderShouldBe(t *testing.T) {
	s, ctx := open(t, t.TempDir()), t.Context()
	check(t, s.Put(ctx, "f", nil))
	for name, err := range map[string]error{
		"Put":         s.Put(ctx, "f/x", nil),
		"PutIfAbsent": s.PutIfAbsent(ctx, "f/x/y", nil),
	} {
		if !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, storage.ErrExist) || !strings.Contains(err.Error(), "what should be its folder is a file") {
			t.Errorf("%s returned %v", name, err)
		}
	}
	check(t, s.Put(ctx, "d/x", nil))
	if err := s.Put(ctx, "d", nil); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if err := s.PutIfAbsent(ctx, "d", nil); !errors.Is(err, storage.ErrExist) {
		t.Errorf("PutIfAbsent over a folder returned %v", err)
	}
	wantNames(t, filepath.Join(strings.TrimPrefix(s.String(), "file://")), "d", "f")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		op   string
		err  error
		says string
	}{
		{"write", syscall.ENOSPC, "the disk is full; make room, nothing is lost"},
		{"sync", syscall.EDQUOT, "the disk is full"},
		{"create", fs.ErrPermission, "this user may not; change the owner or mode"},
		{"mkdir", syscall.EROFS, "this user may not"},
		{"link", syscall.EIO, "create d/g: link /data/lake/d/g: input/output error"},
		{"rename", syscall.EIO, "create d/f: rename /data/lake/d/f: input/output error"},
		{"syncdir", syscall.EIO, ""},
	} {
		fsys := storagetest.NewCrashFS()
		failing := false
		fsys.Fail = func(op, name string) error {
			if failing && op == test.op && strings.HasPrefix(name, "/data/lake/") {
				return test.err
			}
			return nil
		}
		s, ctx := openFS(t, fsys), t.Context()
		check(t, s.Put(ctx, "old", []byte("old")))
		failing = true
		put, absent := s.Put(ctx, "d/f", []byte("x")), s.PutIfAbsent(ctx, "d/g", []byte("y"))
		if test.op == "link" {
			put = absent
		}
		if !errors.Is(put, test.err) || !strings.Contains(put.Error(), test.says) {
			t.Errorf("%s: %v", test.op, put)
		}
		failing = false
		entries, err := fsys.ReadDir("/data/lake/d")
		visible := test.op == "link" || test.op == "rename" || test.op == "syncdir" // one of the two, or both
		if !visible && len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left %v, %v", test.op, entries, err)
		}
		check(t, s.Put(ctx, "d/f", []byte("x"))) // and all is well again
	}
}

func TestWriteThatFailedIsNotCommitted(t *testing.T) {
	fsys := storagetest.NewCrashFS()
	full := false
	fsys.Fail = func(op, _ string) error {
		if full && op == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	s := openFS(t, fsys)
	w, err := s.Create(t.Context(), "f")
	check(t, err)
	_, err = w.Write([]byte("first"))
	check(t, err)
	full = true
	if _, err = w.Write([]byte("second")); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	full = false
	if err = w.Commit(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("commit returned %v", err)
	}
	if entries, err := fsys.ReadDir("/data/lake"); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestPutIfMatchWaitsForTheLock(t *testing.T) {
	for name, fsys := range map[string]file.FS{"disk": file.OS{}, "crash": storagetest.NewCrashFS()} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "lake")
			s, err := file.OpenFS(root, fsys)
			check(t, err)
			check(t, s.Put(t.Context(), "f", []byte("1")))
			_, v, err := s.Get(t.Context(), "f")
			check(t, err)
			lock, err := fsys.Lock(filepath.Join(root, "f"))
			check(t, err)
			if _, err := fsys.Lock(filepath.Join(root, "f")); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("locked twice: %v", err)
			}
			done := make(chan error)
			go func() {
				_, err := s.PutIfMatch(t.Context(), "f", []byte("2"), v)
				done <- err
			}()
			select {
			case err := <-done:
				t.Errorf("did not wait: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			check(t, lock.Close())
			check(t, <-done)
		})
	}
}
