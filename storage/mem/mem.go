// Package mem is a store in memory, for tests.
package mem

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"lakefeed/storage"
)

// Store is a [storage.Store] in memory.
type Store struct {
	mu    sync.RWMutex
	files map[string]file
}

type file struct {
	data []byte
	mod  time.Time
}

// New is an empty store.
func New() *Store { return &Store{files: map[string]file{}} }

var seed = maphash.MakeSeed()

func version(b []byte) storage.Version {
	return storage.Version(fmt.Sprintf("%d-%x", len(b), maphash.Bytes(seed, b)))
}

// Open implements [storage.Store].
func (s *Store) Open(ctx context.Context, name string) (storage.Reader, error) {
	b, _, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return reader{bytes.NewReader(b)}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// Get implements [storage.Store].
func (s *Store) Get(_ context.Context, name string) ([]byte, storage.Version, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, "", fmt.Errorf("read: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, ok := s.files[name]
	if !ok {
		return nil, "", fmt.Errorf("read %s: %w", name, storage.ErrNotExist)
	}
	return bytes.Clone(f.data), version(f.data), nil
}

// Create implements [storage.Store].
func (s *Store) Create(_ context.Context, name string) (storage.Writer, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	return &writer{s: s, name: name}, nil
}

type writer struct {
	data []byte
	s    *Store
	name string
	done bool
}

func (w *writer) Write(b []byte) (int, error) {
	w.data = append(w.data, b...)
	return len(b), nil
}

func (w *writer) Commit() error {
	if w.done {
		return fmt.Errorf("commit %s: it was committed or aborted before", w.name)
	}
	w.done = true
	return w.s.put(w.name, w.data, func(file, bool) error { return nil })
}

func (w *writer) Abort() error { w.done = true; return nil }

// put writes a file unless a check of what is there refuses it.
func (s *Store) put(name string, data []byte, check func(there file, ok bool) error) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	there, ok := s.files[name]
	if err := check(there, ok); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.files[name] = file{bytes.Clone(data), time.Now()}
	return nil
}

// Put implements [storage.Store].
func (s *Store) Put(_ context.Context, name string, data []byte) error {
	return s.put(name, data, func(file, bool) error { return nil })
}

// PutIfAbsent implements [storage.Store].
func (s *Store) PutIfAbsent(_ context.Context, name string, data []byte) error {
	return s.put(name, data, func(_ file, ok bool) error {
		if ok {
			return storage.ErrExist
		}
		return nil
	})
}

// PutIfMatch implements [storage.Store].
func (s *Store) PutIfMatch(_ context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	err := s.put(name, data, func(there file, ok bool) error {
		if !ok || version(there.data) != v {
			return storage.ErrConflict
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return version(data), nil
}

func in(folder string) string {
	if folder == "" {
		return ""
	}
	return folder + "/"
}

// List implements [storage.Store].
func (s *Store) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := cmp.Or(ctx.Err(), storage.CheckFolder(folder)); err != nil {
			yield(storage.Info{}, fmt.Errorf("list: %w", err))
			return
		}
		for _, i := range s.list(folder, recursive) {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (s *Store) list(folder string, recursive bool) []storage.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []storage.Info
	for name, f := range s.files {
		if rest, ok := strings.CutPrefix(name, in(folder)); ok && (recursive || !strings.Contains(rest, "/")) {
			found = append(found, storage.Info{Name: name, Size: int64(len(f.data)), ModTime: f.mod})
		}
	}
	slices.SortFunc(found, func(a, b storage.Info) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// Dirs implements [storage.Store].
func (s *Store) Dirs(_ context.Context, folder string) ([]string, error) {
	if err := storage.CheckFolder(folder); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	dirs := map[string]bool{}
	for name := range s.files {
		if rest, ok := strings.CutPrefix(name, in(folder)); ok {
			if dir, _, ok := strings.Cut(rest, "/"); ok {
				dirs[dir] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(dirs)), nil
}

// Delete implements [storage.Store].
func (s *Store) Delete(_ context.Context, name string) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
	return nil
}

// DeleteAll implements [storage.Store].
func (s *Store) DeleteAll(_ context.Context, folder string) error {
	if err := storage.CheckFolder(folder); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.files, func(name string, _ file) bool { return strings.HasPrefix(name, in(folder)) })
	return nil
}

// String implements [storage.Store].
func (s *Store) String() string { return "mem:" }
