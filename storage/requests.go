package storage

import (
	"context"
	"iter"
	"maps"
	"sync"
	"time"
)

// Requests counts what stores ask of a server: attempts, those that failed and were
// made again among them. The zero value counts; its methods may be called
// concurrently. Stores without a server count nothing.
type Requests struct {
	mu  sync.Mutex
	ops map[string]RequestCount
}

// RequestCount is what one operation of a server was asked.
type RequestCount struct {
	Requests int64
	Failed   int64 // of Requests: those that the server refused or that got no answer
	Sent     int64 // bytes of bodies
	Received int64 // bytes of bodies
}

// Add counts a request.
func (r *Requests) Add(op string, c RequestCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ops == nil {
		r.ops = map[string]RequestCount{}
	}
	was := r.ops[op]
	r.ops[op] = RequestCount{was.Requests + c.Requests, was.Failed + c.Failed, was.Sent + c.Sent, was.Received + c.Received}
}

// ByOperation is what was counted so far, by the server's names for its operations.
func (r *Requests) ByOperation() map[string]RequestCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.ops)
}

// Total is the number of requests so far.
func (r *Requests) Total() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := int64(0)
	for _, c := range r.ops {
		n += c.Requests
	}
	return n
}

type requestsKey struct{}

// counters are those that a context carries, the innermost first.
type counters struct {
	r     *Requests
	outer *counters
}

// CountRequests is a context whose calls r counts too, beside what counts them already.
// What a call opens (a Reader, a Writer) counts where the call did.
func CountRequests(ctx context.Context, r *Requests) context.Context {
	outer, _ := ctx.Value(requestsKey{}).(*counters)
	return context.WithValue(ctx, requestsKey{}, &counters{r, outer})
}

// CountRequest is for stores: it notes a request in every counter of the context.
func CountRequest(ctx context.Context, op string, c RequestCount) {
	for at, _ := ctx.Value(requestsKey{}).(*counters); at != nil; at = at.outer {
		at.r.Add(op, c)
	}
}

// Counted is a store whose calls r counts too.
func Counted(s Store, r *Requests) Store { return &counted{s, r} }

type counted struct {
	s Store
	r *Requests
}

func (c *counted) in(ctx context.Context) context.Context { return CountRequests(ctx, c.r) }

func (c *counted) Open(ctx context.Context, name string) (Reader, error) {
	return c.s.Open(c.in(ctx), name)
}

func (c *counted) Get(ctx context.Context, name string) ([]byte, Version, error) {
	return c.s.Get(c.in(ctx), name)
}

func (c *counted) Create(ctx context.Context, name string) (Writer, error) {
	return c.s.Create(c.in(ctx), name)
}

func (c *counted) Put(ctx context.Context, name string, data []byte) error {
	return c.s.Put(c.in(ctx), name, data)
}

func (c *counted) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return c.s.PutIfAbsent(c.in(ctx), name, data)
}

func (c *counted) PutIfMatch(ctx context.Context, name string, data []byte, v Version) (Version, error) {
	return c.s.PutIfMatch(c.in(ctx), name, data, v)
}

func (c *counted) List(ctx context.Context, folder string, recursive bool) iter.Seq2[Info, error] {
	return c.s.List(c.in(ctx), folder, recursive)
}

func (c *counted) Names(ctx context.Context, folder string) ([]string, error) {
	return Names(c.in(ctx), c.s, folder)
}

func (c *counted) Dirs(ctx context.Context, folder string) ([]string, error) {
	return c.s.Dirs(c.in(ctx), folder)
}

func (c *counted) Delete(ctx context.Context, name string) error { return c.s.Delete(c.in(ctx), name) }

func (c *counted) DeleteAll(ctx context.Context, folder string) error {
	return c.s.DeleteAll(c.in(ctx), folder)
}
func (c *counted) String() string             { return c.s.String() }
func (c *counted) ModTimeStep() time.Duration { return ModTimeStep(c.s) }
func (c *counted) ListsFlat() bool            { return ListsFlat(c.s) }
