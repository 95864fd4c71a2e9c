// Package file is a store in a folder of the local disk.
//
// A file is written under a temporary name, synced, and then linked or renamed to
// its own, and the folder is synced: nobody sees half a file, and what a call
// returned from survives a power failure. New folders are synced in their parents.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"lakefeed/storage"
)

// Store is a [storage.Store] in a folder.
type Store struct {
	root string
	fs   FS

	mu   sync.Mutex      // guards dirs
	dirs map[string]bool // folders that are known to be there, and synced
}

// Open is the store in folder root, which is made when first written to.
func Open(root string) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	return OpenFS(abs, OS{})
}

// OpenFS is the store in folder root of a file system.
func OpenFS(root string, fsys FS) (*Store, error) {
	if info, err := fsys.Stat(root); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open folder %s: it is a file", root)
	}
	return &Store{root: root, fs: fsys, dirs: map[string]bool{}}, nil
}

// String implements [storage.Store].
func (s *Store) String() string { return "file://" + s.root }

func (s *Store) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// explain names what is wrong, and what to do where that is known.
func explain(verb, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", verb, name, storage.ErrNotExist)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %s: %w", verb, name, storage.ErrExist)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: the disk is full; make room, nothing is lost: %w", verb, name, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s %s: this user may not write there; change the folder's owner or mode: %w", verb, name, err)
	default:
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
}

// Open implements [storage.Store].
func (s *Store) Open(_ context.Context, name string) (storage.Reader, error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, explain("open", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, explain("open", name, err)
	}
	if info.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("open %s: it is a folder: %w", name, storage.ErrNotExist)
	}
	return reader{f, info.Size()}, nil
}

type reader struct {
	OpenFile
	size int64
}

func (r reader) Size() int64 { return r.size }

// Get implements [storage.Store].
func (s *Store) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	r, err := s.Open(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = r.Close() }()
	b := make([]byte, r.Size())
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, "", explain("read", name, err)
	}
	return b, versionOf(b), nil
}

func versionOf(b []byte) storage.Version {
	h := sha256.Sum256(b)
	return storage.Version(hex.EncodeToString(h[:16]))
}

// Temporary files of a process that died are left where they are: nobody lists
// or reads them, and their names never come again.
const tempPrefix = ".lakefeed-tmp-"

// Create implements [storage.Store].
func (s *Store) Create(_ context.Context, name string) (storage.Writer, error) {
	return s.create(name)
}

func (s *Store) create(name string) (*writer, error) {
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	if err := s.makeDir(dir); err != nil {
		return nil, err
	}
	temp := path.Join(dir, tempPrefix+uuid.NewString())
	f, err := s.fs.Create(s.path(temp))
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed behind our back
		s.forgetDirs(dir)
		if err = s.makeDir(dir); err != nil {
			return nil, err
		}
		f, err = s.fs.Create(s.path(temp))
	}
	if err != nil {
		return nil, explain("create", name, err)
	}
	return &writer{s: s, f: f, name: name, temp: temp, dir: dir}, nil
}

// writer writes a file under its temporary name.
type writer struct {
	s               *Store
	f               File
	name, temp, dir string
	done            bool
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	return n, explain("write", w.name, err)
}

// Commit implements [storage.Writer].
func (w *writer) Commit() error { return w.finish(w.s.fs.Rename) }

// finish syncs the file, gives it its name and syncs the folder.
func (w *writer) finish(rename func(from, to string) error) error {
	if w.done {
		return fmt.Errorf("commit %s: it was committed or aborted before", w.name)
	}
	if err := w.f.Sync(); err != nil {
		return errors.Join(explain("sync", w.name, err), w.Abort())
	}
	if err := w.f.Close(); err != nil {
		return errors.Join(explain("close", w.name, err), w.Abort())
	}
	if err := w.s.dropChecksum(w.name); err != nil {
		return errors.Join(err, w.Abort())
	}
	err := rename(w.s.path(w.temp), w.s.path(w.name))
	w.done = true
	if err != nil {
		_ = w.s.fs.Remove(w.s.path(w.temp))
		return explain("create", w.name, err)
	}
	return explain("sync folder of", w.name, w.s.fs.SyncDir(w.s.path(w.dir)))
}

// Abort implements [storage.Writer].
func (w *writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	_ = w.f.Close() // it may be closed already
	return explain("abort", w.name, w.s.fs.Remove(w.s.path(w.temp)))
}

// dropChecksum removes the side file that Hadoop keeps of a file: a stale one
// makes Hadoop refuse the file.
func (s *Store) dropChecksum(name string) error {
	side := path.Join(path.Dir(name), "."+path.Base(name)+".crc")
	if err := s.fs.Remove(s.path(side)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain("remove", side, err)
	}
	return nil
}

func (s *Store) write(name string, data []byte) (*writer, error) {
	w, err := s.create(name)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// Put implements [storage.Store].
func (s *Store) Put(_ context.Context, name string, data []byte) error {
	w, err := s.write(name, data)
	if err != nil {
		return err
	}
	return w.Commit()
}

// PutIfAbsent implements [storage.Store].
func (s *Store) PutIfAbsent(_ context.Context, name string, data []byte) error {
	if _, err := s.fs.Stat(s.path(name)); err == nil {
		return explain("create", name, fs.ErrExist)
	}
	w, err := s.write(name, data)
	if err != nil {
		return err
	}
	return w.finish(func(from, to string) error {
		if err := s.fs.Link(from, to); err != nil {
			return err
		}
		return s.fs.Remove(from)
	})
}

// PutIfMatch implements [storage.Store]. Two processes that replace one version in
// the same instant are told apart by a claim: a file named after that version,
// which one of them creates.
func (s *Store) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	conflict := fmt.Errorf("replace %s: %w", name, storage.ErrConflict)
	claim := path.Join(path.Dir(name), tempPrefix+path.Base(name)+"-"+string(v))
	if err := s.claim(claim); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return "", conflict
		}
		return "", explain("replace", name, err)
	}
	defer func() { _ = s.fs.Remove(s.path(claim)) }()
	_, have, err := s.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) || err == nil && have != v {
		return "", conflict
	}
	if err != nil {
		return "", err
	}
	return versionOf(data), s.Put(ctx, name, data)
}

// claimStale is the age at which a claim is one of a process that died holding it.
const claimStale = 30 * time.Second

func (s *Store) claim(name string) error {
	f, err := s.fs.Create(s.path(name))
	if errors.Is(err, fs.ErrExist) {
		if info, serr := s.fs.Stat(s.path(name)); serr == nil && time.Since(info.ModTime()) > claimStale {
			_ = s.fs.Remove(s.path(name))
			f, err = s.fs.Create(s.path(name))
		}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Delete implements [storage.Store].
func (s *Store) Delete(_ context.Context, name string) error {
	if err := s.dropChecksum(name); err != nil {
		return err
	}
	err := s.fs.Remove(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explain("remove", name, err)
	}
	return explain("sync folder of", name, s.fs.SyncDir(filepath.Dir(s.path(name))))
}

// DeleteAll implements [storage.Store].
func (s *Store) DeleteAll(_ context.Context, folder string) error {
	s.forgetDirs(folder)
	if _, err := s.fs.Stat(s.path(folder)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.fs.RemoveAll(s.path(folder)); err != nil {
		return explain("remove", folder, err)
	}
	parent := filepath.Dir(s.path(folder))
	if _, err := s.fs.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return explain("sync folder of", folder, s.fs.SyncDir(parent))
}

// makeDir makes a folder of the store and syncs each new one in its parent.
func (s *Store) makeDir(dir string) error {
	s.mu.Lock()
	known := s.dirs[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.makePath(s.path(dir)); err != nil {
		return explain("make folder", dir, err)
	}
	s.mu.Lock()
	s.dirs[dir] = true
	s.mu.Unlock()
	return nil
}

// makePath makes a folder, after its parents. A folder that is there already is
// synced all the same: who made it may have died before that.
func (s *Store) makePath(dir string) error {
	parent := filepath.Dir(dir)
	if dir != s.root && parent != dir {
		if err := s.makePath(parent); err != nil {
			return err
		}
	}
	err := s.fs.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir { // above the root
		if err := s.makePath(parent); err != nil {
			return err
		}
		err = s.fs.Mkdir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if dir == s.root && err != nil {
		return nil // the root was there before us: its parent may not even be readable
	}
	return s.fs.SyncDir(parent)
}

// forgetDirs forgets that a folder and those in it are there.
func (s *Store) forgetDirs(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.dirs {
		if folder == "" || d == folder || strings.HasPrefix(d, folder+"/") {
			delete(s.dirs, d)
		}
	}
}

// hidden reports whether a name is not a file of the lake: our temporary files
// and Hadoop's checksums.
func hidden(base string) bool {
	return strings.HasPrefix(base, tempPrefix) || strings.HasSuffix(base, ".crc")
}

// List implements [storage.Store].
func (s *Store) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) { s.list(ctx, folder, recursive, yield) }
}

func (s *Store) list(ctx context.Context, folder string, recursive bool, yield func(storage.Info, error) bool) bool {
	if err := ctx.Err(); err != nil {
		return yield(storage.Info{}, err)
	}
	entries, err := s.fs.ReadDir(s.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(storage.Info{}, explain("list", folder, err))
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if e.IsDir() {
			if recursive && !s.list(ctx, name, true, yield) {
				return false
			}
			continue
		}
		if hidden(e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed while we listed
		}
		if err != nil {
			return yield(storage.Info{}, explain("list", name, err))
		}
		if !yield(storage.Info{Name: name, Size: info.Size(), ModTime: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// Dirs implements [storage.Store].
func (s *Store) Dirs(_ context.Context, folder string) ([]string, error) {
	entries, err := s.fs.ReadDir(s.path(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, explain("list", folder, err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs, nil
}
