// Package mem is a store in memory, for tests.
package mem

import (
	"bytes"
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
func (s *Store) Open(_ context.Context, name string) (storage.Reader, error) {
	b, _, err := s.Get(context.Background(), name)
	if err != nil {
		return nil, err
	}
	return reader{bytes.NewReader(b)}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// Get implements [storage.Store].
func (s *Store) Get(_ context.Context, name string) ([]byte, storage.Version, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, ok := s.files[name]
	if !ok {
		return nil, "", fmt.Errorf("read %s: %w", name, storage.ErrNotExist)
	}
	return f.data, version(f.data), nil
}

// Create implements [storage.Store].
func (s *Store) Create(_ context.Context, name string) (storage.Writer, error) {
	return &writer{s: s, name: name}, nil
}

type writer struct {
	bytes.Buffer
	s    *Store
	name string
	done bool
}

func (w *writer) Commit() error {
	w.done = true
	return w.s.Put(context.Background(), w.name, w.Bytes())
}

func (w *writer) Abort() error { w.done = true; return nil }

// Put implements [storage.Store].
func (s *Store) Put(_ context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = file{bytes.Clone(data), time.Now()}
	return nil
}

// PutIfAbsent implements [storage.Store].
func (s *Store) PutIfAbsent(_ context.Context, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.files[name]; ok {
		return fmt.Errorf("create %s: %w", name, storage.ErrExist)
	}
	s.files[name] = file{bytes.Clone(data), time.Now()}
	return nil
}

// PutIfMatch implements [storage.Store].
func (s *Store) PutIfMatch(_ context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.files[name]; !ok || version(f.data) != v {
		return "", fmt.Errorf("replace %s: %w", name, storage.ErrConflict)
	}
	s.files[name] = file{bytes.Clone(data), time.Now()}
	return version(data), nil
}

func in(folder string) string {
	if folder == "" {
		return ""
	}
	return folder + "/"
}

// List implements [storage.Store].
func (s *Store) List(_ context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []storage.Info
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		rest, ok := strings.CutPrefix(name, in(folder))
		if ok && (recursive || !strings.Contains(rest, "/")) {
			found = append(found, storage.Info{Name: name, Size: int64(len(s.files[name].data)), ModTime: s.files[name].mod})
		}
	}
	return func(yield func(storage.Info, error) bool) {
		for _, i := range found {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Dirs implements [storage.Store].
func (s *Store) Dirs(_ context.Context, folder string) ([]string, error) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
	return nil
}

// DeleteAll implements [storage.Store].
func (s *Store) DeleteAll(_ context.Context, folder string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.files, func(name string, _ file) bool { return strings.HasPrefix(name, in(folder)) })
	return nil
}

// String implements [storage.Store].
func (s *Store) String() string { return "mem:" }
