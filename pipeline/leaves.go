package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// The log tells of a partitioned table's rows under the name of its root, and nothing of the
// rows that come or go with a partition: attached with rows, detached, dropped, truncated
// alone. So the partitions that a lake's table accounts for are noted, and each look at the
// catalogs is compared with them when the lake has come as far. Rows that have gone with a
// partition are taken away in place where that is certain to be right (shed.go); else the
// table is copied anew, or waits, as its policy says.

// leafSet is the partitions of a source table that its table in the lake accounts for.
type leafSet struct {
	Copied  change.LSN    `json:"copied"` // the snapshot of the table's newest copy
	Leaves  []change.Leaf `json:"leaves"`
	Horizon uint64        `json:"horizon,omitempty"` // [change.Look.Horizon]; 0: as the copy found them

	at, before change.LSN // of the look, as [change.Look] has them; 0: not known
	// bounds are the conditions of their rows, in memory alone: whoever can write the lake must
	// not have the source run what he likes. One that was just asked for counts when another
	// look finds the partition where it was.
	bounds, asked map[uint32]change.Bound
}

// leafRecord is <lake>/_lakefeed/leaves/<pipeline>/<table>: what is noted of the table's
// copy, and of the one that is about to be committed.
type leafRecord struct {
	Table string     `json:"table"`
	Sets  []*leafSet `json:"sets"`
}

func leavesName(pipeline, table string) string {
	return "_lakefeed/leaves/" + folderName(pipeline) + "/" + tableFolder(table)
}

// recallLeaves finds out which partitions the table accounts for. Where nothing is noted, as
// by a version before this, the next look is.
func (p *Pipeline) recallLeaves(ctx context.Context, t *target) error {
	if t.leaves = nil; t.source.Leaves == nil {
		return nil
	}
	if err := p.recallWritten(ctx, t); err != nil {
		return err
	}
	if s, ok := p.leafSets.Load(t.name); ok && s.(*leafSet).Copied == t.at.Copied {
		t.account(s.(*leafSet))
		return nil
	}
	name := leavesName(p.opts.Name, t.name)
	b, _, err := p.opts.Lake.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which partitions the table accounts for: %w", err)
	}
	var r leafRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return damaged(fmt.Errorf("read which partitions the table accounts for: %w", &hudi.CorruptError{File: name, Err: err}))
	}
	for _, s := range r.Sets {
		if s != nil && s.Copied == t.at.Copied {
			t.account(s)
		}
	}
	return nil
}

// account takes a set as the one that the table accounts for.
func (t *target) account(s *leafSet) { t.leaves, t.at.leaves = s, s.Leaves }

// writeLeaves records sets of a table.
func (p *Pipeline) writeLeaves(ctx context.Context, t *target, sets ...*leafSet) error {
	r := leafRecord{Table: t.name, Sets: slices.DeleteFunc(sets, func(s *leafSet) bool { return s == nil })}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the partitions of %s: %w", t.name, err)
	}
	if err := p.opts.Lake.Put(ctx, leavesName(p.opts.Name, t.name), b); err != nil {
		return fmt.Errorf("note which partitions %s accounts for: %w", t.name, &LakeError{err})
	}
	return nil
}

// copiedLeaves is what a copy at a position accounts for, recorded beside what the table has
// till then: the copy's commit decides which of them is meant. Nil where it has no partitions.
func (p *Pipeline) copiedLeaves(ctx context.Context, t *target, at change.LSN) (*leafSet, error) {
	if t.source.Leaves == nil {
		return nil, nil
	}
	s := &leafSet{Copied: at, Leaves: t.source.Leaves}
	return s, p.writeLeaves(ctx, t, t.leaves, s)
}

// noteLeaves notes that the table accounts for the partitions that a look saw.
func (p *Pipeline) noteLeaves(ctx context.Context, t *target, v *change.Table, look *change.Look) error {
	had := t.leaves
	s := &leafSet{Copied: t.at.Copied, Leaves: v.Leaves, Horizon: look.Horizon, at: look.At, before: look.Before, bounds: map[uint32]change.Bound{}}
	if had == nil || had.Horizon == 0 || !slices.Equal(had.Leaves, v.Leaves) {
		if err := p.writeLeaves(ctx, t, s); err != nil {
			return err
		}
	} else {
		s.Leaves = had.Leaves
	}
	var unknown []uint32
	for _, l := range v.Leaves {
		if b, ok := had.bound(l); ok {
			s.bounds[l.ID] = b
		} else {
			unknown = append(unknown, l.ID)
		}
	}
	if len(unknown) > 0 {
		var err error
		if s.asked, err = p.opts.Source.Bounds(ctx, unknown); err != nil { // without them the table is copied
			p.log.Warn("cannot see which rows belong to which partition", "table", t.name, "error", err)
		}
	}
	t.account(s)
	p.leafSets.Store(t.name, s)
	return nil
}

// bound is what is known of the rows of a partition that is where it was.
func (s *leafSet) bound(l change.Leaf) (change.Bound, bool) {
	if s == nil || !slices.ContainsFunc(s.Leaves, func(k change.Leaf) bool { return k.ID == l.ID && k.Link == l.Link }) {
		return change.Bound{}, false
	}
	if b, ok := s.asked[l.ID]; ok {
		return b, true
	}
	b, ok := s.bounds[l.ID]
	return b, ok
}

// rewrittenLeaves reports whether a partition that is in both lists has its rows in another file.
func rewrittenLeaves(had, now []change.Leaf) bool {
	files := map[uint32]string{}
	for _, l := range had {
		files[l.ID] = l.Storage
	}
	return slices.ContainsFunc(now, func(l change.Leaf) bool { return files[l.ID] != "" && files[l.ID] != l.Storage })
}

// meetLeaves compares a look, up to which the lake holds everything, with the partitions that
// the table accounts for. What was done to its columns is met elsewhere, and first.
func (p *Pipeline) meetLeaves(ctx context.Context, t *target, v *change.Table, look *change.Look) error {
	if v == nil || v.Leaves == nil || v.ID != t.at.TableID || look.At <= t.at.Copied || t.at.LSN == 0 {
		return nil
	}
	if slices.ContainsFunc(t.at.changes(v, nil), func(c SchemaChange) bool { return c.rewritten }) {
		return nil
	}
	var came []SchemaChange
	var gone []change.Leaf
	err := error(nil)
	passed, later := p.cameAndWent(t, v, look)
	if t.leaves != nil {
		came, gone, err = p.leafChanges(ctx, t, v, look)
	}
	came = append(came, passed...)
	switch {
	case err != nil: // it is locked, or went a moment ago: there will be another look
		p.log.Info("a partition is looked at once more", "table", t.name, "error", err)
		return nil
	case len(came) > 0:
		return p.refuseLeaves(ctx, t, v, look.At, came)
	case len(gone) > 0:
		return p.leavesGone(ctx, t, v, look, gone)
	}
	if err := p.noteLeaves(ctx, t, v, look); err != nil {
		p.log.Warn("cannot note the partitions of a table, which waits until that is possible", "table", t.name, "error", err)
		return nil
	}
	p.keepWritten(ctx, t, later)
	return nil
}

// lacksRow reports whether a table, which no job has, stopped at a row that is not in the lake and should be.
func (t *target) lacksRow() bool {
	if t.job || t.trouble == nil {
		return false
	}
	_, lacks := errors.AsType[*MissingRowError](t.trouble.err)
	return lacks
}

// meetAttached looks for what a row that the lake lacks may have come with: a partition that was attached since, and be
// it gone again. It is no more than that, since the lake does not hold everything up to the look.
func (p *Pipeline) meetAttached(ctx context.Context, t *target, v *change.Table, look *change.Look) error {
	if v == nil || v.Leaves == nil || v.ID != t.at.TableID || look.At <= t.at.Copied || t.leaves == nil {
		return nil
	}
	came, _, err := p.leafChanges(ctx, t, v, look)
	if err != nil {
		p.log.Info("a partition is looked at once more", "table", t.name, "error", err)
		return nil
	}
	passed, _ := p.cameAndWent(t, v, look)
	came = append(slices.DeleteFunc(came, func(c SchemaChange) bool { return c.Kind != PartitionAttached }), passed...)
	if len(came) == 0 {
		return nil
	}
	return p.refuseLeaves(ctx, t, v, look.At, came)
}

// settleLeaves takes over the files of partitions that an ALTER TABLE wrote anew, where nothing
// is to become of that.
func (t *target) settleLeaves(v *change.Table) {
	if t.leaves == nil {
		return
	}
	files := map[uint32]string{}
	for _, l := range v.Leaves {
		files[l.ID] = l.Storage
	}
	s := *t.leaves
	s.Leaves = slices.Clone(s.Leaves)
	for i, l := range s.Leaves {
		if files[l.ID] != "" {
			s.Leaves[i].Storage = files[l.ID]
		}
	}
	t.account(&s)
}

// leafChanges are the partitions that brought rows, or were emptied, which only the rows
// themselves tell, and those that are gone.
func (p *Pipeline) leafChanges(ctx context.Context, t *target, v *change.Table, look *change.Look) (came []SchemaChange, gone []change.Leaf, err error) {
	had := map[uint32]change.Leaf{}
	for _, l := range t.leaves.Leaves {
		had[l.ID] = l
	}
	keyed := v.KeyKind != change.NoKey // else no row ever leaves the table
	for _, l := range v.Leaves {
		old, same := had[l.ID]
		same = same && old.Link == l.Link
		if same {
			delete(had, l.ID)
		}
		switch {
		case !same && (!l.Whole || old.ID != 0):
			has, err := p.opts.Source.HasRows(ctx, l, 0)
			if err != nil {
				return nil, nil, err
			}
			if has {
				came = append(came, attached(v, l))
			}
		case same && keyed && old.Storage != l.Storage && (t.at.Emptied == 0 || l.Xid != t.at.Emptied):
			kept, err := t.leaves.Horizon != 0, error(nil)
			if kept {
				kept, err = p.opts.Source.HasRows(ctx, l, t.leaves.Horizon)
			}
			if err == nil && !kept && t.emptiedTogether(v, look) {
				if kept = !t.emptied.rows; !kept {
					kept, err = p.opts.Source.HasRows(ctx, l, look.Horizon)
				}
			}
			if err != nil {
				return nil, nil, err
			}
			if !kept {
				came = append(came, emptied(v, l))
			}
		}
	}
	for _, l := range t.leaves.Leaves {
		if _, left := had[l.ID]; left && keyed {
			gone = append(gone, l)
		}
	}
	return came, gone, nil
}

// emptiedAt is the newest truncate of a whole table, as far as this session has written it. In a savepoint,
// or a block with EXCEPTION, it leaves a number in the partitions' entries that no log tells.
type emptiedAt struct {
	at    change.LSN // where its transaction commits; 0: not known
	rows  bool       // the table has rows of that transaction
	later bool       // or of later ones
}

// see notes what a commit of the table holds.
func (e *emptiedAt) see(p *pending) {
	switch {
	case p.truncated:
		*e = emptiedAt{at: p.emptied, rows: p.rows > 0, later: p.newest > p.emptied}
	case p.rows > 0:
		e.later = true
	}
}

// emptiedTogether reports whether the newest truncate of the whole table may be what emptied all partitions, and no
// row came behind its transaction: a partition that has a row of before the look has not been emptied since, and where
// the table has none nothing is lost. One that was emptied once more within the transaction has another number than the others.
func (t *target) emptiedTogether(v *change.Table, look *change.Look) bool {
	e := t.emptied
	if e.later || e.at <= t.at.Copied || e.at >= look.At || look.Horizon == 0 {
		return false
	}
	return !e.rows || len(v.Leaves) > 1 && !slices.ContainsFunc(v.Leaves, func(l change.Leaf) bool { return l.Xid != v.Leaves[0].Xid })
}

func attached(v *change.Table, l change.Leaf) SchemaChange {
	return SchemaChange{Kind: PartitionAttached, Column: l.Name, anew: fmt.Sprintf("partition %s was attached to %s with rows, which are not in the log", l.Name, v)}
}

func emptied(v *change.Table, l change.Leaf) SchemaChange {
	return SchemaChange{Kind: PartitionEmptied, Column: l.Name, anew: fmt.Sprintf("partition %s of %s was emptied, as by a TRUNCATE of it alone, which is not in the log", l.Name, v)}
}

func detached(v *change.Table, l change.Leaf, why string) SchemaChange {
	return SchemaChange{Kind: PartitionDetached, Column: l.Name, anew: fmt.Sprintf("partition %s was taken from %s with its rows, which is not in the log, and %s", l.Name, v, why)}
}

// refuseLeaves is the error of a table that has to be copied because of its partitions, or
// whose policy leaves that to a person.
func (p *Pipeline) refuseLeaves(ctx context.Context, t *target, v *change.Table, at change.LSN, list []SchemaChange) error {
	decision := CopiedAnew
	if t.policy() == PauseSchema && !t.accepts(v, 0) {
		decision = Waits
	}
	p.logLeaves(ctx, t, at, list, decision)
	if decision == Waits {
		return &SchemaWaitError{t.name, list[0].anew, versionSum(v)}
	}
	return &AnewError{What: list[0].anew, Schema: true}
}

// logLeaves logs what became of partitions, once.
func (p *Pipeline) logLeaves(ctx context.Context, t *target, at change.LSN, list []SchemaChange, decision Decision) {
	r, err := p.schemaOf(ctx, t)
	if err == nil {
		next := *r
		for _, c := range list {
			told := slices.ContainsFunc(r.Events, func(e SchemaEvent) bool {
				return e.Kind == c.Kind && e.Column == c.Column && e.LSN > max(t.at.Copied, t.leaves.at)
			})
			if e := (SchemaEvent{LSN: at, Time: time.Now().UTC(), Policy: t.policy(), Decided: Decided{c, decision}, Text: c.String()}); !told {
				next.Events = append(slices.Clip(next.Events), e)
				p.tellChange(t, e)
			}
		}
		if len(next.Events) > len(r.Events) {
			err = p.writeSchema(ctx, t, &next)
		}
	}
	if err != nil {
		p.log.Warn("cannot log what became of partitions", "table", t.name, "error", err)
	}
}
