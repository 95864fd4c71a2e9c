package pipeline

import (
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// pending is the changes of one table in one round.
type pending struct {
	target    *target
	slabs     []*slab // in memory, in order
	bytes     int64   // of the slabs
	rows      int64
	truncated bool          // the table was emptied before the first of them ...
	emptied   change.LSN    // ... by the transaction that commits here; 0: not known
	emptiedBy uint32        // its number
	newest    change.LSN    // the commit of the newest of them
	limit     change.LSN    // rows of commits from here on do not count; 0: all do
	version   *change.Table // the newest version of the table
	since     change.LSN    // the commit of its first change
	first     change.LSN    // the commit of the first change of them all, and be it one that a truncate made meaningless
	oldest    int64         // commit time of the first change, Unix microseconds
	spill     *spill        // nil while everything fits in memory
	journal   *spillFile    // what did not fit, in the order of the log: of a table whose changes go to the spool

	versions []*change.Table // that rows came under, in order

	left leftOut // patches of no row, in the newest try to write it
}

// add takes a batch in, after what came before.
func (p *pending) add(b *change.Batch) error {
	if p.oldest == 0 {
		p.oldest = b.Times[0]
	}
	p.seeFirst(b.At[0].Commit)
	p.seeVersion(b.Table, b.At[0].Commit)
	start := 0
	for i, op := range b.Ops {
		if op == change.Truncate {
			p.reset()
			p.truncated, p.emptied, p.emptiedBy = true, b.At[i].Commit, b.Xids[i]
			start = i + 1
		}
	}
	if start == b.Len() {
		return nil
	}
	if b = b.Slice(start, b.Len()); b.Len() == 0 {
		return nil
	}
	if b.Moved.Get(0) {
		return fmt.Errorf("take changes of %s: the delete half of a key change is missing before %v", b.Table, b.At[0])
	}
	keys, err := recordKeys(b)
	if err != nil {
		return err
	}
	p.take(&slab{Batch: b, keys: keys})
	return nil
}

// seeFirst notes where changes commit that were taken in.
func (p *pending) seeFirst(at change.LSN) {
	if p.first == 0 || at < p.first {
		p.first = at
	}
}

// seeVersion notes under which version of the table changes come from a commit on.
func (p *pending) seeVersion(v *change.Table, since change.LSN) {
	if p.version != v {
		p.version, p.since = v, since
	}
}

// take takes a slab in, after what came before.
func (p *pending) take(s *slab) {
	if n := len(p.versions); n == 0 || p.versions[n-1] != s.Table {
		p.versions = append(p.versions, s.Table)
	}
	p.slabs = append(p.slabs, s)
	p.newest = max(p.newest, s.At[s.Len()-1].Commit)
	p.bytes += s.Bytes()
	p.rows += int64(s.Len())
}

// reset forgets every row: a truncate makes them meaningless.
func (p *pending) reset() {
	p.slabs, p.versions, p.bytes, p.rows, p.newest = nil, nil, 0, 0, 0
	if p.spill != nil {
		p.spill.remove()
		p.spill = nil
	}
	if p.journal != nil {
		p.journal.remove()
		p.journal = nil
	}
}

// recordKeys are the record keys of a batch, as Hudi writes them.
func recordKeys(b *change.Batch) (*array.String, error) {
	if b.Table.KeyKind == change.NoKey {
		return b.Keys, nil
	}
	names := columnNames(b.Table)
	fields := make([]arrow.Field, len(b.Table.Key))
	cols := make([]arrow.Array, len(b.Table.Key))
	key := make([]string, len(b.Table.Key))
	for i, k := range b.Table.Key {
		key[i] = names[k]
		fields[i] = arrow.Field{Name: names[k], Type: b.Table.Columns[k].Arrow, Nullable: true}
		cols[i] = b.Rows.Column(k)
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(b.Len()))
	keys, err := hudi.RecordKeys(rec, key)
	if err != nil {
		return nil, fmt.Errorf("make record keys of %s: %w", b.Table, err)
	}
	return rejectedKeys(b, keys), nil
}

// empty reports whether the round changes nothing in the table.
func (p *pending) empty() bool { return p.rows == 0 && !p.truncated || p.voided() }

// voided reports whether the table was emptied by a transaction that does not count, as a value of it
// cannot be taken in: what came before is forgotten, and nothing of the round can be written.
func (p *pending) voided() bool { return p.truncated && p.limit != 0 && p.emptied >= p.limit }

// parts yields the changes in parts that fit in memory; all changes of a key,
// and of the keys that its row had before, are in one part and in order.
func (p *pending) parts(budget int64) iter.Seq2[[]*slab, error] {
	return func(yield func([]*slab, error) bool) {
		if err := p.divideJournal(); err != nil {
			yield(nil, err)
			return
		}
		if p.spill == nil {
			if len(p.slabs) > 0 {
				yield(p.slabs, nil)
			}
			return
		}
		if err := p.toDisk(""); err != nil {
			yield(nil, err)
			return
		}
		p.spill.parts(budget, yield)
	}
}

// toDisk moves the slabs from memory to files in dir.
func (p *pending) toDisk(dir string) error {
	if p.spill == nil {
		s, err := newSpill(dir)
		if err != nil {
			return err
		}
		p.spill = s
	}
	for _, s := range p.slabs {
		if err := p.spill.add(s); err != nil {
			return err
		}
	}
	p.slabs, p.bytes = nil, 0
	return nil
}

var seed = maphash.MakeSeed()

// home is where the history of a key is, unless its row came from another key.
func home(key string) uint64 { return maphash.String(seed, key) }
