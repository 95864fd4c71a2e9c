package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lakefeed/change"
)

// segmentHead is what a segment says of itself, in its first frame.
type segmentHead struct {
	Pipeline string          `json:"pipeline"`
	Table    string          `json:"table"` // source name
	Source   change.Identity `json:"source"`
	From     change.LSN      `json:"from"` // it has every change of the table in [From, To)
	To       change.LSN      `json:"to"`
	Last     change.Mark     `json:"last,omitzero"`   // the newest transaction that was read then
	Newest   time.Time       `json:"newest,omitzero"` // its commit time
	Oldest   int64           `json:"oldest,omitempty"`
	Rows     int64           `json:"rows"`
	// Truncated says that the table was emptied before the first of these changes, by the
	// transaction EmptiedBy that commits at Emptied; 0: not known.
	Truncated bool       `json:"truncated,omitempty"`
	Emptied   change.LSN `json:"emptied,omitzero"`
	EmptiedBy uint32     `json:"emptied_by,omitzero"`
}

// SegmentError is a segment of the spool that cannot be read, or is not what it should be.
type SegmentError struct {
	Name string
	Err  error
}

// Error names the segment.
func (e *SegmentError) Error() string {
	return fmt.Sprintf("segment %s of the spool: %v", e.Name, e.Err)
}

// Unwrap is the cause.
func (e *SegmentError) Unwrap() error { return e.Err }

// segmentWriter writes changes behind one another, each version of the table a stream.
type segmentWriter struct {
	out     *frameWriter
	version *change.Table
	w       *ipc.Writer
}

func newSegmentWriter(to io.Writer, h segmentHead) (*segmentWriter, error) {
	out, err := newFrameWriter(to)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return &segmentWriter{out: out}, out.frame(b)
}

// add writes a slab.
func (s *segmentWriter) add(b *slab) error {
	if err := s.begin(b.Table); err != nil {
		return err
	}
	return s.w.Write(spillRecord(b.plain()))
}

// begin begins a stream for a version of the table, unless the last one is of it.
func (s *segmentWriter) begin(t *change.Table) error {
	if s.version == t {
		return nil
	}
	if err := s.endStream(); err != nil {
		return err
	}
	schema, err := describedSchema(t, spillSchema(t))
	if err != nil {
		return err
	}
	s.version = t
	s.w = ipc.NewWriter(s.out, ipc.WithSchema(schema))
	return nil
}

func (s *segmentWriter) endStream() error {
	if s.w == nil {
		return nil
	}
	err := s.w.Close()
	s.w = nil
	return err
}

// end ends the segment and returns its size.
func (s *segmentWriter) end() (int64, error) {
	err := errors.Join(s.endStream(), s.out.end())
	return s.out.bytes, err
}

// readHead reads what a segment says of itself.
func readHead(r *frameReader) (h segmentHead, err error) {
	b, err := r.frame()
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("%w: %w", errTorn, err)
	}
	return h, nil
}

// readSegment hands over what a segment says of itself, the versions of its table and
// its changes, in the order of the log. Nothing counts before it has returned without an error.
func readSegment(ctx context.Context, from io.Reader, head func(segmentHead) error, version func(*change.Table), slabs func(*slab) error) error {
	frames, err := newFrameReader(from)
	if err != nil {
		return err
	}
	h, err := readHead(frames)
	if err != nil {
		return err
	}
	if err := head(h); err != nil {
		return err
	}
	in := bufio.NewReaderSize(frames, 256<<10)
	for {
		if _, err := in.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := readStream(ctx, in, version, slabs); err != nil {
			return err
		}
	}
}

// readStream reads the changes under one version of the table.
func readStream(ctx context.Context, in io.Reader, version func(*change.Table), slabs func(*slab) error) error {
	r, err := ipc.NewReader(in)
	if err != nil {
		return fmt.Errorf("%w: %w", errTorn, err)
	}
	t, err := describedTable(r.Schema())
	if err != nil {
		return fmt.Errorf("%w: %w", errTorn, err)
	}
	version(t)
	for r.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec := r.RecordBatch()
		rec.Retain()
		if err := checkSpilled(t, rec); err != nil {
			return fmt.Errorf("%w: %w", errTorn, err)
		}
		s := spilledSlab(t, rec)
		s.route = nil // of another process
		if err := slabs(s); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errTorn, err)
	}
	return nil
}
