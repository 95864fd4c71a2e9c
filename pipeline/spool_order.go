package pipeline

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// errDivided is changes that were divided by key on the local disk, from which the order
// of the log cannot be made again: the source has them still.
var errDivided = errors.New("the changes are no longer in the order of the log")

// inOrder hands over the changes in the order of the log.
func (p *pending) inOrder(fn func(*slab) error) error {
	if p.spill != nil {
		return errDivided
	}
	if p.journal != nil {
		if err := p.journal.close(); err != nil {
			return err
		}
		if err := p.journal.read(fn); err != nil {
			return err
		}
	}
	for _, s := range p.slabs {
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}

// journals numbers the files.
var journals atomic.Int64

// toJournal moves the slabs from memory to a file in dir, in the order of the log.
func (p *pending) toJournal(dir string) (err error) {
	if p.journal == nil {
		name := fmt.Sprintf("journal-%d.arrow", journals.Add(1))
		if p.journal, err = createSpillFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, s := range p.slabs {
		if _, err := p.journal.write(s.Table, spillRecord(s.plain())); err != nil {
			return err
		}
	}
	p.slabs, p.bytes = nil, 0
	return nil
}

// divideJournal divides by key what stands in the order of the log, so that it can be
// written part by part.
func (p *pending) divideJournal() error {
	if p.journal == nil {
		return nil
	}
	if err := p.journal.close(); err != nil {
		return err
	}
	dir := filepath.Dir(p.journal.f.Name())
	s, err := newSpill(dir)
	if err != nil {
		return err
	}
	p.spill = s
	err = p.journal.read(func(b *slab) error {
		b.route = nil
		return s.add(b)
	})
	p.journal.remove()
	p.journal = nil
	return err
}

// before is the slab's rows of commits before limit (0: all), nil where there are none.
func (b *slab) before(limit change.LSN) *slab {
	if limit == 0 {
		return b
	}
	head, _ := b.Split(limit)
	return b.cut(0, head)
}

// from is the slab's rows of commits at or behind lsn, nil where there are none.
func (b *slab) from(lsn change.LSN) *slab {
	_, rest := b.Split(lsn)
	if rest == nil {
		return nil
	}
	return b.cut(b.Len()-rest.Len(), rest)
}

// cut is the slab of a part of its batch that begins at a row.
func (b *slab) cut(at int, part *change.Batch) *slab {
	if part == nil || part == b.Batch {
		if part == nil {
			return nil
		}
		return b
	}
	return &slab{Batch: part, keys: array.NewSlice(b.keys, int64(at), int64(at+part.Len())).(*array.String)}
}
