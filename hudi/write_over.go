package hudi

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/internal/column"
)

// WriteOver is [Sorter.Write] for rows that take the place of others: the delete of a key
// counts for nothing where a row of that key comes too, whichever was taken first, and may come
// twice. The sorter has one lane, and Buckets where the table has. Look, where there is one, sees the keys of rows before
// they are written, some at a time; its error ends the writing.
func (s *Sorter) WriteOver(ctx context.Context, x *Txn, look func(ctx context.Context, keys []string) error) error {
	if x.table.hashed() && s.opts.Buckets != x.count {
		return &ConflictError{Reason: fmt.Sprintf("it has %d buckets, and what was sorted is for %d", x.count, s.opts.Buckets)}
	}
	out := &overOut{out: sortedOut{txn: x, schema: s.opts.Schema}, look: look}
	if err := s.sorter.each(ctx, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) }); err != nil {
		return err
	}
	if err := out.remove(ctx); err != nil {
		return err
	}
	return out.out.end(ctx)
}

// overOut takes changes in the order of their places and keys, deletes and rows mixed.
type overOut struct {
	out  sortedOut
	look func(ctx context.Context, keys []string) error
	last struct { // change; its key is still to be deleted where it is a delete
		key   string
		gone  bool
		begun bool
	}
	gone []string // keys to be deleted from where out is
}

// overDeletes bounds the keys that wait to be deleted.
const overDeletes = 16384

func (o *overOut) add(ctx context.Context, rows arrow.RecordBatch) error {
	c := changesOf(rows)
	at := func(row int) changePlace {
		p := c.place(row)
		p.gone = false
		return p
	}
	for place, r := range runs(c.keys.Len(), at) {
		if place != o.out.at {
			if err := o.remove(ctx); err != nil {
				return err
			}
			if err := o.out.move(ctx, place); err != nil {
				return err
			}
		}
		if err := o.put(ctx, c, r); err != nil {
			return err
		}
	}
	return nil
}

// put takes the changes of one place.
func (o *overOut) put(ctx context.Context, c sortedChanges, r run) error {
	sel := make([]int32, 0, r.to-r.from) // rows
	for row := r.from; row < r.to; row++ {
		key, gone := c.keys.Value(row), c.gone.Value(row)
		if !gone {
			sel = append(sel, int32(row))
		}
		switch same := o.last.begun && key == o.last.key; {
		case !same:
			o.settle()
			o.last.key, o.last.gone, o.last.begun = strings.Clone(key), gone, true
		case gone:
		case !o.last.gone:
			return comesTwice(key)
		default:
			o.last.gone = false
		}
	}
	if err := o.write(ctx, c, r, sel); err != nil {
		return err
	}
	if len(o.gone) < overDeletes {
		return nil
	}
	return o.flush(ctx)
}

// settle is done with the last key.
func (o *overOut) settle() {
	if o.last.begun && o.last.gone {
		o.gone = append(o.gone, o.last.key)
	}
	o.last.begun = false
}

// write writes the selected rows of a run.
func (o *overOut) write(ctx context.Context, c sortedChanges, r run, sel []int32) error {
	if len(sel) == 0 {
		return nil
	}
	if len(sel) < r.to-r.from {
		some, err := column.Take(c.rows, sel)
		if err != nil {
			return err
		}
		defer some.Release()
		c, r = changesOf(some), run{0, len(sel)}
	}
	if o.look != nil {
		keys := make([]string, 0, len(sel))
		for row := r.from; row < r.to; row++ {
			keys = append(keys, strings.Clone(c.keys.Value(row)))
		}
		if err := o.look(ctx, keys); err != nil {
			return err
		}
	}
	return o.out.put(ctx, c, r)
}

// remove deletes what is left to be deleted from a place.
func (o *overOut) remove(ctx context.Context) error {
	o.settle()
	return o.flush(ctx)
}

func (o *overOut) flush(ctx context.Context) error {
	if len(o.gone) == 0 {
		return nil
	}
	g, err := o.out.group(ctx, max(o.out.at.bucket, 0))
	if err != nil {
		return err
	}
	gone := o.gone
	o.gone = nil // the writer keeps them
	return g.Delete(ctx, gone)
}
