package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"lakefeed/storage"
)

// Open implements [storage.Store]. One request fetches the object's size, its version and
// its end, where a Parquet file has its footer; a small file is whole with it.
func (s *Store) Open(ctx context.Context, name string) (storage.Reader, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	r := &reader{s: s, ctx: ctx, key: s.key(name), unit: firstWindow}
	err := s.get(ctx, &s3.GetObjectInput{Key: &r.key, Range: aws.String(fmt.Sprintf("bytes=-%d", tailBytes))}, r.takeTail)
	if status(err) == http.StatusRequestedRangeNotSatisfiable { // an empty object has no end
		err = s.get(ctx, &s3.GetObjectInput{Key: &r.key}, r.takeTail)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// How much is fetched at once. A reader of Parquet follows several columns at the same
// time, each from front to back: each such stream has a window of its own, whose size
// doubles as it goes on. Where there are more streams than the memory holds windows,
// the windows get smaller.
const (
	tailBytes   = 256 << 10
	firstWindow = 128 << 10
	leastWindow = 32 << 10
	growth      = 32       // a window gets so many times as large as the first
	windowBytes = 24 << 20 // of all windows of a reader
)

// reader reads one version of one object.
type reader struct {
	s    *Store
	ctx  context.Context // the caller's of Open: an io.ReaderAt is given none
	key  string
	etag string
	size int64
	tail []byte // the end of the object

	mu      sync.Mutex // guards what follows
	windows []*window  // the one that was used last stands last
	unit    int64      // size of a stream's first window
	held    int64      // bytes of the windows
}

// window is a piece of the object.
type window struct {
	from, to int64
	ready    chan struct{} // closed once data or err is there
	data     []byte
	err      error
	read     int64 // bytes that were read of it; guarded by the reader's mu
}

// Size implements [storage.Reader].
func (r *reader) Size() int64 { return r.size }

// Close implements [storage.Reader].
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows, r.held = nil, 0
	return nil
}

// takeTail takes the first answer. A server that knows no ranges sends all.
func (r *reader) takeTail(out *s3.GetObjectOutput) error {
	r.etag, r.size = aws.ToString(out.ETag), aws.ToInt64(out.ContentLength)
	if at := aws.ToString(out.ContentRange); at != "" {
		_, total, _ := strings.Cut(at, "/")
		size, err := strconv.ParseInt(total, 10, 64)
		if err != nil || size < r.size {
			return fmt.Errorf("its Content-Range is %q", at)
		}
		r.size = size
	}
	n := aws.ToInt64(out.ContentLength)
	if n < r.size || n <= tailBytes { // else all of a large file came, and its end is far
		r.tail = make([]byte, n)
		if _, err := io.ReadFull(out.Body, r.tail); err != nil {
			return err
		}
	}
	return nil
}

// ReadAt implements [storage.Reader].
func (r *reader) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read s3://%s/%s at %d: %w", r.s.opts.Bucket, r.key, off, io.ErrUnexpectedEOF)
	}
	n := 0
	for n < len(b) && off+int64(n) < r.size {
		m, err := r.readSome(b[n:], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readSome reads at least a byte.
func (r *reader) readSome(b []byte, off int64) (int, error) {
	if start := r.size - int64(len(r.tail)); off >= start {
		return copy(b, r.tail[off-start:]), nil
	}
	w, fetch := r.window(off, int64(len(b)))
	if w == nil { // so much that a window would only be in the way
		n := int(min(int64(len(b)), r.size-off))
		if err := r.fetch(b[:n], off); err != nil {
			return 0, err // as a full answer [io.ReadFull] would take it, and drop the error
		}
		return n, nil
	}
	if fetch {
		w.data = make([]byte, w.to-w.from)
		w.err = r.fetch(w.data, w.from)
		close(w.ready)
	}
	select {
	case <-w.ready:
	case <-r.ctx.Done():
		return 0, r.s.failed(r.ctx, "GetObject", r.key, r.ctx.Err())
	}
	if w.err != nil {
		r.drop(w)
		return 0, w.err
	}
	n := copy(b, w.data[off-w.from:])
	r.mu.Lock()
	w.read += int64(n)
	r.mu.Unlock()
	return n, nil
}

// window finds the window with an offset, or makes one, which the caller is to fetch;
// nil where n bytes are best read without one.
func (r *reader) window(off, n int64) (w *window, fetch bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	share := (windowBytes - r.held) / 8 // of what is left, so that other streams find room
	size := max(min(r.unit, share), leastWindow)
	for i, w := range r.windows {
		if off >= w.from && off < w.to {
			r.windows = append(append(r.windows[:i:i], r.windows[i+1:]...), w)
			return w, false
		}
		if off == w.to { // a stream goes on
			was := w.to - w.from
			size = min(2*was, growth*r.unit, max(was, share))
			if w.read >= was { // it has served
				r.remove(i)
			}
			break
		}
	}
	if n >= max(size, firstWindow) {
		return nil, false
	}
	w = &window{from: off, to: min(off+max(size, n), r.size), ready: make(chan struct{})}
	for _, next := range r.windows {
		if next.from > off {
			w.to = min(w.to, next.from) // what is there is not fetched again
		}
	}
	for r.held+w.to-w.from > windowBytes && len(r.windows) > 0 {
		if old := r.windows[0]; old.read < old.to-old.from {
			r.unit = max(r.unit/2, leastWindow) // it was fetched in vain: there are many streams
		}
		r.remove(0)
	}
	r.windows = append(r.windows, w)
	r.held += w.to - w.from
	return w, true
}

func (r *reader) remove(i int) {
	r.held -= r.windows[i].to - r.windows[i].from
	r.windows = append(r.windows[:i:i], r.windows[i+1:]...)
}

func (r *reader) drop(w *window) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.windows {
		if r.windows[i] == w {
			r.remove(i)
			return
		}
	}
}

// fetch reads all of b from off on, of the version that was opened. Where an answer
// breaks off, it goes on from there.
func (r *reader) fetch(b []byte, off int64) error {
	in := &s3.GetObjectInput{Key: &r.key, IfMatch: &r.etag}
	done := 0
	in.Range = rangeOf(off, len(b))
	err := r.s.get(r.ctx, in, func(out *s3.GetObjectOutput) error {
		body := io.Reader(out.Body)
		if aws.ToString(out.ContentRange) == "" { // all of it
			if _, err := io.CopyN(io.Discard, body, off+int64(done)); err != nil {
				return err
			}
		}
		n, err := io.ReadFull(body, b[done:])
		done += n
		in.Range = rangeOf(off+int64(done), len(b)-done)
		return err
	})
	if status(err) == http.StatusPreconditionFailed {
		return fmt.Errorf("read s3://%s/%s: it %w while it was read", r.s.opts.Bucket, r.key, storage.ErrConflict)
	}
	return err
}

func rangeOf(off int64, n int) *string {
	return aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(n)-1))
}
