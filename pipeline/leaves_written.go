package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// A partition that is made, written and taken away between two looks is in none of them, and its
// rows stay in the lake. The stream tells of it: ahead of the first change that comes of a partition,
// it describes that. So partitions that were written, and that the table does not account for,
// are noted until a look has them: one that it does not have took rows along which nobody can tell.

// writtenLeaves is <lake>/_lakefeed/leaves/<pipeline>/written/<table>.
type writtenLeaves struct {
	Table  string        `json:"table"`
	Leaves []writtenLeaf `json:"leaves"`
}

type writtenLeaf struct {
	ID    uint32     `json:"id"`
	Name  string     `json:"name"`
	Since change.LSN `json:"since"` // where the transaction commits of which the stream told
}

func writtenName(pipeline, table string) string {
	return "_lakefeed/leaves/" + folderName(pipeline) + "/written/" + tableFolder(table)
}

// written is what is noted of a table.
func (p *Pipeline) writtenOf(t *target) []writtenLeaf {
	list, _ := p.leafWrites.Load(t.name)
	noted, _ := list.([]writtenLeaf)
	return noted
}

// recallWritten reads what was noted of a table before.
func (p *Pipeline) recallWritten(ctx context.Context, t *target) error {
	if _, known := p.leafWrites.Load(t.name); known {
		return nil
	}
	name := writtenName(p.opts.Name, t.name)
	b, _, err := p.opts.Lake.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which partitions were written: %w", err)
	}
	var r writtenLeaves
	if err := json.Unmarshal(b, &r); err != nil {
		return damaged(fmt.Errorf("read which partitions were written: %w", &hudi.CorruptError{File: name, Err: err}))
	}
	p.leafWrites.Store(t.name, r.Leaves)
	return nil
}

// noteWritten notes the partitions of which a round has changes, ahead of its commits.
func (p *Pipeline) noteWritten(ctx context.Context, r *round) {
	fresh := map[*target][]writtenLeaf{}
	for _, w := range r.leaves {
		t := p.targetOf(w.Table)
		if t == nil || t.isDropped() || !t.job && t.leaves.accounts(w.ID) {
			continue
		}
		list, there := fresh[t]
		if !there {
			list = slices.Clone(p.writtenOf(t))
		}
		list = slices.DeleteFunc(list, func(l writtenLeaf) bool { return l.ID == w.ID })
		fresh[t] = append(list, writtenLeaf{w.ID, w.Name, w.Since})
	}
	for t, list := range fresh {
		p.keepWritten(ctx, t, list)
	}
}

// keepWritten replaces what is noted of a table.
func (p *Pipeline) keepWritten(ctx context.Context, t *target, list []writtenLeaf) {
	if slices.Equal(p.writtenOf(t), list) {
		return
	}
	p.leafWrites.Store(t.name, list)
	name := writtenName(p.opts.Name, t.name)
	var err error
	if len(list) == 0 {
		if err = p.opts.Lake.Delete(ctx, name); errors.Is(err, storage.ErrNotExist) {
			err = nil
		}
	} else {
		var b []byte
		if b, err = json.Marshal(writtenLeaves{t.name, list}); err == nil {
			err = p.opts.Lake.Put(ctx, name, b)
		}
	}
	if err != nil { // it is known for as long as this process lives
		p.log.Warn("cannot note which partitions were written", "table", t.name, "error", err)
	}
}

// accounts reports whether the set has a partition.
func (s *leafSet) accounts(id uint32) bool {
	return s != nil && slices.ContainsFunc(s.Leaves, func(l change.Leaf) bool { return l.ID == id })
}

// cameAndWent divides what is noted of a table by a look: partitions that were written before it
// and that it does not have, and those that are to be looked for again.
func (p *Pipeline) cameAndWent(t *target, v *change.Table, look *change.Look) (gone []SchemaChange, later []writtenLeaf) {
	for _, w := range p.writtenOf(t) {
		there := slices.ContainsFunc(v.Leaves, func(l change.Leaf) bool { return l.ID == w.ID })
		switch {
		case there, w.Since < t.at.Copied, t.leaves.accounts(w.ID), v.KeyKind == change.NoKey:
		case w.Since < look.Before && t.leaves != nil:
			gone = append(gone, SchemaChange{
				Kind: PartitionDetached, Column: w.Name,
				anew: fmt.Sprintf("partition %s came to %s, was written and went again between two looks: which rows it took along is not known", w.Name, v),
			})
		default:
			later = append(later, w)
		}
	}
	return gone, later
}
