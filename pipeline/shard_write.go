package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
)

// The rounds of several shards go into a table by one commit: the first that is ready waits
// for those that have changes of it, a commit interval at most, and makes one transaction of
// all that came. A shard that fails takes the transaction back and stops alone; the others
// are written again without it.

// meeting is the parts of one commit while they come together.
type meeting struct {
	parts []*shardPart
	full  chan struct{} // closed when there is nobody to wait for any more
	over  bool          // it is
}

// shardPart is what a round of one shard changes in a table.
type shardPart struct {
	p    *Pipeline
	t    *target
	pend *pending
	r    *round
	done chan error // of the commit; errMeetAgain: nothing was done, or it shows what was

	// How it is written.
	m      *met
	layout *layout
	next   checkpoint
	aside  *quarantineWriter
}

// errMeetAgain is a commit that came to nothing since the stream has ended that was to make it.
var errMeetAgain = errors.New("the shard that was to write for all has ended")

// gathers reports whether the table has changes that were read and are soon to be written.
func (t *target) gathers() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0 && !t.aside.Load()
}

// look ends the waiting where every shard has come that has changes.
func (m *meeting) look(members map[string]*target) {
	if m == nil || m.over {
		return
	}
	for shard, t := range members {
		here := slices.ContainsFunc(m.parts, func(p *shardPart) bool { return p.t.shard == shard })
		if !here && t.gathers() {
			return
		}
	}
	m.over = true
	close(m.full)
}

// writeShared writes a shard's part of a round together with those of others.
func (p *Pipeline) writeShared(ctx context.Context, pend *pending, r *round) error {
	started := time.Now()
	for {
		part := &shardPart{p: p, t: pend.target, pend: pend, r: r, done: make(chan error, 1)}
		err := part.t.shared.meet(ctx, part)
		if errors.Is(err, errMeetAgain) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			p.observe(part.t, pend, r, started)
		}
		return err
	}
}

// meet brings a part to those of other shards, and returns when it was written, or was not.
func (s *sharedTable) meet(ctx context.Context, part *shardPart) error {
	s.mu.Lock()
	m, first := s.meeting, s.meeting == nil
	if first {
		m = &meeting{full: make(chan struct{})}
		s.meeting = m
	}
	m.parts = append(m.parts, part)
	m.look(s.members)
	s.mu.Unlock()
	if first {
		return s.lead(ctx, m, part)
	}
	select {
	case err := <-part.done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	waits := s.meeting == m // nobody works on it yet
	if waits {
		m.parts = slices.DeleteFunc(m.parts, func(o *shardPart) bool { return o == part })
	}
	s.mu.Unlock()
	if !waits {
		return cmp.Or(<-part.done, ctx.Err())
	}
	return ctx.Err()
}

// lead waits for the other shards and writes what has come.
func (s *sharedTable) lead(ctx context.Context, m *meeting, first *shardPart) error {
	timer := time.NewTimer(first.p.opts.Interval)
	defer timer.Stop()
	select {
	case <-m.full:
	case <-timer.C:
	case <-ctx.Done():
	}
	err := s.gatherTurn(ctx)
	s.mu.Lock()
	s.meeting = nil
	parts := slices.Clone(m.parts)
	s.mu.Unlock()
	if err == nil {
		err = s.write(ctx, parts)
		<-s.shards.writing
		<-s.turn
	}
	for _, part := range parts { // those that have no answer yet
		answer := err
		if part != first && (err == nil || ctx.Err() != nil) { // nothing was done of it
			answer = errMeetAgain
		}
		select {
		case part.done <- answer:
		default:
		}
	}
	return <-first.done
}

// gatherTurn waits until the table may be written; who comes meanwhile is with it.
func (s *sharedTable) gatherTurn(ctx context.Context) error {
	release, err := s.take(ctx)
	if err != nil {
		return err
	}
	select {
	case s.shards.writing <- struct{}{}: // last: who has it waits for nobody, a copy's commit for one
		return nil
	case <-ctx.Done():
		release()
		return ctx.Err()
	}
}

// write writes parts by one commit, without those that fail. Each that is told of has its answer;
// the error is that of all others.
func (s *sharedTable) write(ctx context.Context, parts []*shardPart) error {
	var together, apart []*shardPart
	for _, part := range parts {
		// Keys of several shards are compared in memory.
		if part.pend.spill != nil && !keyedByShard(part.pend.version) {
			apart = append(apart, part)
		} else {
			together = append(together, part)
		}
	}
	for len(together) > 0 {
		failed, err := s.writeOnce(ctx, together)
		if err == nil {
			break
		}
		if _, schema := errors.AsType[*hudi.SchemaError](err); schema && failed == nil { // of all of them; whose fault it is shows by itself
			together, apart = nil, append(together, apart...)
			break
		}
		if failed == nil || ctx.Err() != nil {
			return err
		}
		failed.done <- err
		together = slices.DeleteFunc(together, func(o *shardPart) bool { return o == failed })
	}
	for _, part := range together {
		part.done <- s.serve(ctx, part, part == together[0])
	}
	for _, part := range apart {
		_, err := s.writeOnce(ctx, []*shardPart{part})
		if err == nil {
			err = s.serve(ctx, part, true)
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		part.done <- err
	}
	return nil
}

// serve runs the table's services behind a commit, once for all parts.
func (s *sharedTable) serve(ctx context.Context, part *shardPart, first bool) error {
	if !first {
		return nil
	}
	err := part.p.serve(ctx, part.t)
	s.show() // a compaction's instant, perhaps
	return err
}

// writeOnce makes one commit, again where another writer was in the way. Failed is the part
// whose fault the error is; nil: it is that of all.
func (s *sharedTable) writeOnce(ctx context.Context, parts []*shardPart) (failed *shardPart, err error) {
	for range attempts {
		if failed, err = s.commit(ctx, parts); err == nil {
			return nil, nil
		}
		if s.table == nil {
			return failed, err
		}
		if cause := s.table.Refresh(context.WithoutCancel(ctx)); cause != nil {
			return failed, fmt.Errorf("%w; and to look at the table again: %w", err, cause)
		}
		if _, conflict := errors.AsType[*hudi.ConflictError](err); !conflict {
			return failed, err
		}
		parts[0].p.log.Warn("another writer was in the way, the batch is written again", "table", parts[0].t.name, "error", err)
	}
	return failed, err
}

// commit is one transaction of all parts.
func (s *sharedTable) commit(ctx context.Context, parts []*shardPart) (failed *shardPart, err error) {
	if s.table == nil {
		return parts[0], anew("its folder %s is gone from the lake", parts[0].t.store)
	}
	if err := s.certain(ctx); err != nil {
		return nil, err
	}
	schema := s.table.Schema()
	for _, part := range parts {
		if schema, err = part.prepare(ctx, schema); err != nil {
			return part, err
		}
	}
	for _, part := range parts {
		if part.layout, err = part.t.layoutOf(part.m.shown(), schema); err != nil {
			return part, err
		}
	}
	txn, err := s.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.Upsert, Schema: schema})
	if err != nil && len(parts) == 1 {
		return parts[0], parts[0].t.ofSchema(fmt.Errorf("begin: %w", err))
	}
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	instant, extra, failed, err := s.fillTxn(ctx, txn, parts)
	if err != nil {
		if instant, err = published(ctx, txn, err); err != nil {
			return failed, err
		}
	}
	for _, part := range parts {
		part.p.commits.Add(1)
		part.t.committed(part.next, instant, part.pend.rows)
		part.p.tellLeftOut(part.pend, part.r)
		part.t.emptied.see(part.pend)
	}
	s.committed(extra)
	return nil, nil
}

// prepare decides on the version of the source that a part brings, and adds its columns to the schema.
func (part *shardPart) prepare(ctx context.Context, schema *arrow.Schema) (_ *arrow.Schema, err error) {
	t := part.t
	if err := cmp.Or(t.reaches(), t.passed()); err != nil {
		return nil, err
	}
	t.table = t.shared.table
	if err := t.quarantine.align(ctx, t.at.LSN); err != nil {
		return nil, err
	}
	if part.m, err = part.p.meetRound(ctx, part.pend, part.r); err != nil {
		return nil, err
	}
	if schema, err = part.p.evolveTable(ctx, part.pend, part.m, schema); err != nil {
		return nil, err
	}
	part.next = part.p.next(part.m, part.pend.until(part.r.to), part.r.last)
	part.next.First = max(part.pend.first, part.next.From)
	if part.pend.truncated {
		part.next.Emptied = part.pend.emptiedBy
	}
	return schema, nil
}

// fillTxn writes all parts into a transaction, and publishes it.
func (s *sharedTable) fillTxn(ctx context.Context, txn *hudi.Txn, parts []*shardPart) (_ string, extra map[string]string, failed *shardPart, err error) {
	out := s.sink(ctx, txn, parts)
	defer out.end()
	defer func() {
		for _, part := range parts {
			if part.aside != nil {
				part.aside.abort(ctx, &err)
			}
		}
	}()
	keys := claims{}
	of := map[string]checkpoint{}
	for _, part := range parts {
		if err := part.write(ctx, txn, out, keys); err != nil {
			return "", nil, part, err
		}
		of[part.t.shard] = part.next
	}
	if err := out.flush(ctx); err != nil {
		clash, _ := errors.AsType[*ShardClashError](err)
		return "", nil, partOf(parts, clash), err
	}
	if extra, err = s.extra(of); err != nil {
		return "", nil, nil, err
	}
	for _, part := range parts {
		if err := part.aside.commit(ctx, part.next.LSN); err != nil {
			return "", nil, part, fmt.Errorf("put rows in quarantine: %w", err)
		}
	}
	instant, err := txn.Commit(ctx, extra)
	return instant, extra, nil, err
}

// partOf is the part of the shard that an error names, nil where it names none.
func partOf(parts []*shardPart, clash *ShardClashError) *shardPart {
	if clash == nil {
		return nil
	}
	i := slices.IndexFunc(parts, func(p *shardPart) bool { return p.t.shard == clash.Shard })
	if i < 0 {
		return nil
	}
	return parts[i]
}

// sink is where the parts' changes go: into the file groups, which stay open for all of them,
// or sorted first, where there are many or rows take the place of others.
func (s *sharedTable) sink(ctx context.Context, txn *hudi.Txn, parts []*shardPart) sink {
	first, over, several := parts[0], false, len(parts) > 1
	for _, part := range parts {
		over, several = over || part.pend.truncated, several || part.pend.spill != nil
	}
	partitioned := len(first.t.partitions) > 0
	if over || several && partitioned {
		return &overGroups{sortedGroups: sortedGroups{txn: txn, sorter: first.p.overSorter(s.table, txn.Schema())}}
	}
	return &openGroups{ctx: ctx, txn: txn, several: several, partitioned: partitioned, open: map[groupID]*hudi.GroupWriter{}}
}

// write writes one part.
func (part *shardPart) write(ctx context.Context, txn *hudi.Txn, out sink, keys claims) error {
	p, t, pend := part.p, part.t, part.pend
	part.aside, pend.left = t.quarantine.writer(pend.truncated), leftOut{}
	if over, ok := out.(*overGroups); ok && pend.truncated {
		if err := t.forgetRows(ctx, over.sorter); err != nil {
			return err
		}
	}
	for slabs, err := range pend.parts(p.opts.MemoryBudget / 4) {
		if err != nil {
			return err
		}
		p.phase("reduce")
		if slabs, err = part.m.slabs(slabs); err != nil {
			return err
		}
		r := reduce(slabs, pend.limit)
		if err := t.meetRows(ctx, txn, r, pend.truncated); err != nil {
			return err
		}
		pend.left.add(r.left)
		if err := part.aside.take(ctx, r, pend.version.KeyKind == change.NoKey); err != nil {
			return fmt.Errorf("put rows in quarantine: %w", err)
		}
		if !keyedByShard(pend.version) {
			if err := keys.claim(t, r); err != nil {
				return err
			}
		}
		if err := p.writePart(ctx, t, part.layout, txn, out, r, false); err != nil {
			return err
		}
	}
	return nil
}
