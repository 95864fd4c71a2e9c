package hudi

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"lakefeed/storage"
)

// heedful is a store that remembers that it failed to give what was asked for. What a check
// finds wrong then may be the store's doing: the files are not to be called damaged for it.
type heedful struct {
	storage.Store

	mu    sync.Mutex
	first error
}

// failure is the first error, nil where there was none.
func (h *heedful) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first
}

// heed passes an error on. That a file is not there is an answer.
func (h *heedful) heed(err error) error {
	if err != nil && !errors.Is(err, storage.ErrNotExist) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.first == nil {
			h.first = err
		}
	}
	return err
}

// Open implements [storage.Store].
func (h *heedful) Open(ctx context.Context, name string) (storage.Reader, error) {
	r, err := h.Store.Open(ctx, name)
	if err != nil {
		return nil, h.heed(err)
	}
	return heedfulReader{r, h}, nil
}

// Get implements [storage.Store].
func (h *heedful) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	data, v, err := h.Store.Get(ctx, name)
	return data, v, h.heed(err)
}

// List implements [storage.Store].
func (h *heedful) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range h.Store.List(ctx, folder, recursive) {
			if !yield(info, h.heed(err)) {
				return
			}
		}
	}
}

// Dirs implements [storage.Store].
func (h *heedful) Dirs(ctx context.Context, folder string) ([]string, error) {
	names, err := h.Store.Dirs(ctx, folder)
	return names, h.heed(err)
}

// Names is that of [storage.Names].
func (h *heedful) Names(ctx context.Context, folder string) ([]string, error) {
	names, err := storage.Names(ctx, h.Store, folder)
	return names, h.heed(err)
}

// ModTimeStep is that of [storage.ModTimeStep].
func (h *heedful) ModTimeStep() time.Duration { return storage.ModTimeStep(h.Store) }

// ListsFlat is that of [storage.ListsFlat].
func (h *heedful) ListsFlat() bool { return storage.ListsFlat(h.Store) }

type heedfulReader struct {
	storage.Reader

	h *heedful
}

// ReadAt is that of [io.ReaderAt].
func (r heedfulReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.h.heed(err)
	}
	return n, err
}
