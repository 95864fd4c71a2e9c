package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"lakefeed/change"
	"lakefeed/storage"
)

// The spool keeps changes of tables that cannot be written for a while, so that the
// source may forget them: a table that stopped or is paused, one that is being copied
// beside the stream, all of them while the lake refuses writes. What a round has of such
// a table becomes a segment, <pipeline>/<table>/<from>-<to>.arrow, on stable storage
// before the source is acknowledged; docs/format/spool.md has its bytes.
//
// A segment holds every change of the table in [from, to), and the next one begins where
// it ends. A table's own checkpoint says which of them count: what it covers is deleted,
// whether a commit or a crash comes in between.

// spool is where segments are kept.
type spool struct {
	store storage.Store // rooted at the pipeline's folder
	own   bool          // it is not in the lake: it works while the lake does not
	max   int64         // bytes; 0: no bound
	bytes atomic.Int64  // of all segments
}

// spoolFolder is where the spool is in a lake that keeps it itself.
const spoolFolder = "_lakefeed/spool"

func newSpool(o *Options) *spool {
	s := &spool{store: o.Spool, own: o.Spool != nil, max: o.SpoolBytes}
	if s.store == nil {
		s.store = storage.Sub(o.Lake, spoolFolder)
	}
	s.store = storage.Sub(s.store, folderName(o.key()))
	return s
}

// segment is one that is there. Its name says what it covers.
type segment struct {
	from, to change.LSN
	bytes    int64
	oldest   int64 // commit time of its first change, Unix microseconds; 0: not known
}

const segmentSuffix = ".arrow"

func (s segment) file() string {
	return fmt.Sprintf("%016x-%016x%s", uint64(s.from), uint64(s.to), segmentSuffix)
}

// parseSegment reads the name of a segment.
func parseSegment(file string) (s segment, ok bool) {
	text, ok := strings.CutSuffix(file, segmentSuffix)
	from, to, found := strings.Cut(text, "-")
	if !ok || !found || len(from) != 16 || len(to) != 16 {
		return s, false
	}
	a, err := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	s.from, s.to = change.LSN(a), change.LSN(b)
	return s, err == nil && err2 == nil && a < b && s.file() == file
}

// tableFolder is the folder of a table's segments, by its source name: no two share one.
func tableFolder(table string) string {
	return "t-" + strings.NewReplacer(".", "%2E", "+", "%20").Replace(url.QueryEscape(table))
}

// list is the segments of every table, by the table's folder, each in the order of the log.
// Whatever else is there is left alone.
func (s *spool) list(ctx context.Context) (map[string][]segment, error) {
	found := map[string][]segment{}
	total := int64(0)
	for info, err := range s.store.List(ctx, "", true) {
		if err != nil {
			return nil, fmt.Errorf("list the spool %s: %w", s.store, s.failed(err))
		}
		folder, file, _ := strings.Cut(info.Name, "/")
		if seg, ok := parseSegment(file); ok && strings.HasPrefix(folder, "t-") {
			seg.bytes = info.Size
			found[folder] = append(found[folder], seg)
			total += info.Size
		}
	}
	s.bytes.Store(total)
	return found, nil
}

// segmentsOf is the segments of one table, in the order of the log.
func (s *spool) segmentsOf(ctx context.Context, table string) (segs []segment, err error) {
	for info, err := range s.store.List(ctx, tableFolder(table), false) {
		if err != nil {
			return nil, fmt.Errorf("list the spool %s: %w", s.store, s.failed(err))
		}
		if seg, ok := parseSegment(info.Name[strings.LastIndexByte(info.Name, '/')+1:]); ok {
			seg.bytes = info.Size
			segs = append(segs, seg)
		}
	}
	return segs, nil
}

// failed marks an error of the spool's store, which may pass as the lake's do.
func (s *spool) failed(err error) error { return &LakeError{err} }

// write makes a segment of a table. It is there whole, on stable storage, or not at all.
func (s *spool) write(ctx context.Context, h segmentHead, pend *pending) (segment, error) {
	seg := segment{from: h.From, to: h.To}
	name := tableFolder(h.Table) + "/" + seg.file()
	w, err := s.store.Create(ctx, name)
	if err != nil {
		return seg, fmt.Errorf("make segment %s of the spool %s: %w", name, s.store, s.failed(err))
	}
	defer func() { _ = w.Abort() }() // nothing after Commit
	if seg.bytes, err = writeSegment(w, h, pend); errors.Is(err, errDivided) {
		return seg, err
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		return seg, fmt.Errorf("write segment %s of the spool %s: %w", name, s.store, s.failed(err))
	}
	s.bytes.Add(seg.bytes)
	return seg, nil
}

// writeSegment writes a pending's changes, in the order of the log.
func writeSegment(to io.Writer, h segmentHead, pend *pending) (int64, error) {
	w, err := newSegmentWriter(to, h)
	if err != nil {
		return 0, err
	}
	err = pend.inOrder(func(b *slab) error {
		if b = b.before(pend.limit); b == nil {
			return nil
		}
		return w.add(b)
	})
	if err == nil && pend.version != nil { // even where no row is left: what was emptied had columns
		err = w.begin(pend.version)
	}
	if err != nil {
		return 0, err
	}
	return w.end()
}

// open opens a segment to read it from its beginning.
func (s *spool) open(ctx context.Context, table string, seg segment) (io.ReadCloser, error) {
	r, err := s.store.Open(ctx, tableFolder(table)+"/"+seg.file())
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(r, 0, r.Size()), r}, nil
}

// read hands over the changes of a segment; nothing of them counts before it has returned.
func (s *spool) read(ctx context.Context, table string, seg segment, head func(segmentHead) error, version func(*change.Table), slabs func(*slab) error) error {
	r, err := s.open(ctx, table, seg)
	if err == nil {
		err = errors.Join(readSegment(ctx, r, func(h segmentHead) error { return errors.Join(h.of(table, seg), head(h)) }, version, slabs), r.Close())
	}
	return s.readError(ctx, table, seg, err)
}

// readError says of a segment that is gone or damaged that no new try helps, and of a
// store that does not answer that one may.
func (s *spool) readError(ctx context.Context, table string, seg segment, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errTorn), errors.Is(err, errForeign), errors.Is(err, storage.ErrNotExist):
		return &SegmentError{s.store.String() + "/" + tableFolder(table) + "/" + seg.file(), err}
	}
	return err
}

var errForeign = errors.New("it is of another table, pipeline or place in the log than its name says")

// of sees that a segment is what its name says.
func (h *segmentHead) of(table string, seg segment) error {
	if h.Table != table || h.From != seg.from || h.To != seg.to {
		return fmt.Errorf("%w: of %s, from %s to %s", errForeign, h.Table, h.From, h.To)
	}
	return nil
}

// head is what a segment says of itself.
func (s *spool) head(ctx context.Context, table string, seg segment) (h segmentHead, err error) {
	r, err := s.open(ctx, table, seg)
	if err == nil {
		defer func() { _ = r.Close() }() // it was only read
		var frames *frameReader
		if frames, err = newFrameReader(r); err == nil {
			h, err = readHead(frames)
		}
	}
	if err == nil {
		err = h.of(table, seg)
	}
	return h, s.readError(ctx, table, seg, err)
}

// delete removes segments of a table.
func (s *spool) delete(ctx context.Context, table string, segs []segment) error {
	for _, seg := range segs {
		if err := s.store.Delete(ctx, tableFolder(table)+"/"+seg.file()); err != nil {
			return fmt.Errorf("delete segment %s of %s from the spool: %w", seg.file(), table, s.failed(err))
		}
		s.bytes.Add(-seg.bytes)
	}
	return nil
}

// full reports whether the spool has reached its bound.
func (s *spool) full() bool { return s.max > 0 && s.bytes.Load() >= s.max }
