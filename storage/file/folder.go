package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"lakefeed/storage"
)

// makeDir makes a folder, after its parents, and syncs it in its parent. One that is
// there already is synced all the same: who made it may have died before that. It reports
// whether the folder is new, and so is empty.
func (s *Store) makeDir(dir string) (made bool, err error) {
	if _, known := s.made.Load(dir); known {
		return false, nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if _, err := s.makeDir(parent); err != nil {
			return false, err
		}
	}
	info, err := s.fs.Stat(dir)
	found := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		if err = s.fs.Mkdir(dir); errors.Is(err, fs.ErrExist) {
			made = false
			info, err = s.fs.Stat(dir) // another was faster
		}
	}
	if err != nil {
		return false, err
	}
	if info != nil && !info.IsDir() {
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err := s.fs.SyncDir(parent); err != nil {
		// What holds the root need not be ours to read, or not be a disk; then we
		// have not made the root either.
		if dir != s.root && inside(dir, s.root) || !found {
			return false, err
		}
	}
	s.made.Store(dir, true)
	return made, nil
}

// inside reports whether a folder is another one or lies in it.
func inside(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, strings.TrimSuffix(folder, "/")+"/")
}

// syncEntry syncs a folder, or where it is not there the nearest one above it: what
// was seen in it, and what was found missing, stays so.
func (s *Store) syncEntry(dir string) error {
	err := s.fs.SyncDir(dir)
	if parent := filepath.Dir(dir); absent(err) && parent != dir {
		return s.syncEntry(parent)
	}
	return err
}

// syncDir is syncEntry for what we changed ourselves. If it fails, reading settles it.
func (s *Store) syncDir(dir string) error {
	err := s.syncEntry(dir)
	if err != nil {
		s.settled.Delete(dir)
	}
	return err
}

// settle makes sure, once for each folder, that what a process before us changed in
// it, and died before syncing, stays as we are about to read it: we may tell the
// source that the lake has it. A process that only reads tells nobody. A folder that
// cannot be synced is reported when it is written to.
func (s *Store) settle(dir string) {
	if !s.wrote.Load() {
		return
	}
	if _, known := s.settled.Load(dir); !known && s.syncEntry(dir) == nil {
		s.settled.Store(dir, true)
	}
}

// Delete implements [storage.Store].
func (s *Store) Delete(_ context.Context, name string) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	s.wrote.Store(true)
	if info, err := s.fs.Stat(s.path(name)); err == nil && info.IsDir() {
		return nil
	}
	if err := s.dropChecksum(name); err != nil {
		return err
	}
	if err := s.fs.Remove(s.path(name)); err != nil && !absent(err) {
		return explain("remove", name, err)
	}
	return explain("sync folder of", name, s.syncDir(filepath.Dir(s.path(name))))
}

// DeleteAll implements [storage.Store].
func (s *Store) DeleteAll(_ context.Context, folder string) error {
	if err := storage.CheckFolder(folder); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	s.wrote.Store(true)
	dir := s.path(folder)
	if info, err := s.fs.Stat(dir); err == nil && !info.IsDir() {
		return nil
	}
	s.removing.Lock()
	s.forget(dir)
	err := s.fs.RemoveAll(dir)
	s.removing.Unlock()
	if err != nil && !absent(err) {
		return explain("remove", folder, err)
	}
	return explain("sync folder of", folder, s.syncDir(filepath.Dir(dir)))
}

// forget takes a folder, and those in it, from the ones that we know to be there. It
// looks at these, not at all that is known: a lake has many folders.
func (s *Store) forget(dir string) {
	s.made.Delete(dir)
	entries, err := s.fs.ReadDir(dir)
	if err != nil && !absent(err) {
		s.made.Clear()
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			s.forget(filepath.Join(dir, e.Name()))
		}
	}
}
