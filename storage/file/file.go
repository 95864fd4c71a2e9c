// Package file is a store in a folder of the local disk.
//
// A file is written under a temporary name, synced, and then linked or renamed to
// its own, and the folder is synced: nobody sees half a file, and what a call
// returned from survives a power failure. New folders are synced in their parents.
package file

import (
	"cmp"
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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lakefeed/storage"
)

// Store is a [storage.Store] in a folder.
type Store struct {
	root string
	fs   FS

	removing sync.RWMutex // held to write while folders are removed, to read while a file is made in one
	made     sync.Map     // folders (full paths) that are known to be there, and synced in their parents
	wrote    atomic.Bool  // something: what is read from now on is settled
	settled  sync.Map     // folders (full paths) that were synced since we wrote
}

// Open is the store in folder root, which is made when first written to.
func Open(root string) (*Store, error) {
	if root == "" {
		return nil, errors.New("open folder: it has no name")
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	return OpenFS(abs, OS{})
}

// OpenFS is the store in folder root of a file system.
func OpenFS(root string, fsys FS) (*Store, error) {
	if info, err := fsys.Stat(root); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open folder %s: it is a file; remove it, or name a folder: %w", root, syscall.ENOTDIR)
	}
	return &Store{root: filepath.Clean(root), fs: fsys}, nil
}

// String implements [storage.Store].
func (s *Store) String() string { return "file://" + s.root }

// ModTimeStep is that of [storage.ModTimeStep]: a kernel dates files by its tick, of at
// most 10 ms.
func (s *Store) ModTimeStep() time.Duration { return 10 * time.Millisecond }

func (s *Store) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// explain names what is wrong, and what to do where that is known.
func explain(verb, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", verb, name, storage.ErrNotExist)
	case errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY):
		return fmt.Errorf("%s %s: %w", verb, name, storage.ErrExist)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: the disk is full; make room, nothing is lost: %w", verb, name, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s %s: this user may not; change the owner or mode of the file or its folder: %w", verb, name, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s %s: what should be its folder is a file: %w", verb, name, err)
	default:
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
}

// absent reports whether an error says that there is no such file or folder.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Open implements [storage.Store].
func (s *Store) Open(_ context.Context, name string) (storage.Reader, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	s.settle(filepath.Dir(s.path(name)))
	f, err := s.fs.Open(s.path(name))
	if absent(err) {
		return nil, fmt.Errorf("open %s: %w", name, storage.ErrNotExist)
	}
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
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, r.Size()), b); err != nil {
		return nil, "", explain("read", name, err)
	}
	return b, versionOf(b), nil
}

func versionOf(b []byte) storage.Version {
	h := sha256.Sum256(b)
	return storage.Version(hex.EncodeToString(h[:16]))
}

// hidden reports whether a name is not a file of the lake: our temporary files
// and Hadoop's checksums.
func hidden(base string) bool {
	return strings.HasPrefix(base, tempPrefix) || strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".crc")
}

// readDir is the entries of a folder, none where it is not there, in the order of
// the names of the files in them: "a.b" stands before "a/b".
func (s *Store) readDir(folder string) ([]fs.DirEntry, error) {
	if err := storage.CheckFolder(folder); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	s.settle(s.path(folder))
	entries, err := s.fs.ReadDir(s.path(folder))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("list", folder, err)
	}
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(key(a), key(b)) })
	return entries, nil
}

// List implements [storage.Store].
func (s *Store) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) { s.list(ctx, folder, recursive, yield) }
}

// list reports whether to go on.
func (s *Store) list(ctx context.Context, folder string, recursive bool, yield func(storage.Info, error) bool) bool {
	entries, err := s.readDir(folder)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		yield(storage.Info{}, err)
		return false
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
		if absent(err) {
			continue // removed while we listed
		}
		if err != nil {
			yield(storage.Info{}, explain("list", name, err))
			return false
		}
		if !yield(storage.Info{Name: name, Size: info.Size(), ModTime: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// Names is for [storage.Names].
func (s *Store) Names(ctx context.Context, folder string) ([]string, error) {
	entries, err := s.readDir(folder)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() && !hidden(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Dirs implements [storage.Store].
func (s *Store) Dirs(_ context.Context, folder string) ([]string, error) {
	entries, err := s.readDir(folder)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	slices.Sort(dirs)
	return dirs, nil
}
