package hudi

import (
	"context"
	"iter"
	"path"
	"sync"
	"sync/atomic"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// paced is a store that says of each call when it comes.
type paced struct {
	storage.Store
	calls  atomic.Int64
	before func(n int64)

	mu      sync.Mutex
	decides []int64 // the calls that write the claim, or the timeline
}

func (p *paced) call() { p.write("") }

// write is a call that writes a file.
func (p *paced) write(name string) {
	n := p.calls.Add(1)
	if _, ok := timeline.ParseName(path.Base(name)); name == claimFile || ok && path.Dir(name) == metaFolder {
		p.mu.Lock()
		p.decides = append(p.decides, n)
		p.mu.Unlock()
	}
	if p.before != nil {
		p.before(n)
	}
}

func (p *paced) Open(ctx context.Context, name string) (storage.Reader, error) {
	p.call()
	return p.Store.Open(ctx, name)
}

func (p *paced) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	p.call()
	return p.Store.Get(ctx, name)
}

func (p *paced) Put(ctx context.Context, name string, data []byte) error {
	p.call()
	return p.Store.Put(ctx, name, data)
}

func (p *paced) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	p.write(name)
	return p.Store.PutIfAbsent(ctx, name, data)
}

func (p *paced) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	p.write(name)
	return p.Store.PutIfMatch(ctx, name, data, v)
}

func (p *paced) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	p.call()
	return p.Store.List(ctx, folder, deep)
}

func (p *paced) Dirs(ctx context.Context, folder string) ([]string, error) {
	p.call()
	return p.Store.Dirs(ctx, folder)
}

func (p *paced) Delete(ctx context.Context, name string) error {
	p.call()
	return p.Store.Delete(ctx, name)
}

func (p *paced) DeleteAll(ctx context.Context, folder string) error {
	p.call()
	return p.Store.DeleteAll(ctx, folder)
}

func (p *paced) Create(ctx context.Context, name string) (storage.Writer, error) {
	p.call()
	w, err := p.Store.Create(ctx, name)
	return &pacedWriter{w, p}, err
}

type pacedWriter struct {
	storage.Writer
	p *paced
}

func (w *pacedWriter) Commit() error {
	w.p.call()
	return w.Writer.Commit()
}
