package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// A table may go on from another source, as where a service moves to a database of its own: the pipeline of
// that one takes it over (takeover.go), and the one that kept it leaves it, exactly at a position. It says so in
// the lake, by its order for the table, before anybody else writes into it: see docs/adr/0026.

// Leaving is what a pipeline is asked, and then says, of a table that another pipeline of the lake goes on with.
type Leaving struct {
	To   string `json:"to"`             // the other pipeline
	Path string `json:"path,omitempty"` // the table's folder in the lake
	// At is up to where: the table gets every transaction that commits before it, and none behind it.
	At change.LSN `json:"at,omitzero"`
	// Anyhow leaves the table as it is: all of its rows are to be read from the other source.
	Anyhow bool `json:"anyhow,omitempty"`
	// Left says that it is done: this pipeline writes into the table no more.
	Left bool `json:"left,omitempty"`
}

// String says it for people.
func (l *Leaving) String() string {
	switch {
	case l.Left:
		return "pipeline " + l.To + " goes on with it"
	case l.Anyhow:
		return "it is handed over to pipeline " + l.To
	}
	return fmt.Sprintf("it is handed over to pipeline %s as soon as it has all before %s", l.To, l.At)
}

// handedOver reports whether another pipeline goes on with the table.
func (o Order) handedOver() bool { return o.Leaves != nil && o.Leaves.Left }

// said reports whether a table's order says it already. What contradicts that is an error.
func (l *Leaving) said(o Order) (bool, error) {
	had := o.Leaves
	switch {
	case had == nil && o.Removed && !l.Anyhow:
		return false, errors.New("it was removed from the pipeline, and lacks what was done since: --copy reads all rows from the new source")
	case had == nil:
		return false, nil
	case had.To != l.To:
		return false, errors.New(had.String())
	case had.Left || l.Anyhow == had.Anyhow && (l.At == 0 || l.At == had.At):
		return true, nil
	case l.Anyhow:
		return false, nil
	}
	return false, fmt.Errorf("%s: `lakefeed add` takes that back", had)
}

// apply is the order that is left.
func (l *Leaving) apply(o Order) Order {
	if l.Left {
		return Order{Removed: true, Leaves: l, Since: time.Now().UTC()}
	}
	o.Leaves, o.Since = l, time.Now().UTC()
	return o
}

// errStays is of a table that is not where it is said to be left.
func errStays(table string, err error) error {
	return fmt.Errorf("hand %s over: %w", table, err)
}

// Leave asks for a table to be left to another pipeline: the lake has noted it when this returns, and says that
// it is done by [Leaving.Left]. Without a position it is where the source's log ends now.
func (p *Pipeline) Leave(ctx context.Context, table string, l Leaving) (Order, error) {
	had := p.orderOf(table)
	done, err := l.said(had)
	t := p.targetNamed(table)
	switch {
	case err != nil:
		return Order{}, errStays(table, err)
	case done:
		p.awake()
		return had, nil
	case p.opts.Shards != nil:
		return Order{}, errStays(table, errShardsAdopt)
	case t == nil && !had.Removed:
		return Order{}, errStays(table, errors.New("the pipeline has no such table: names are as `lakefeed status` prints them"))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cut := change.LSN(0)
	if l.Left = t == nil; !l.Anyhow {
		if cut, err = p.holdFor(ctx, t, &l); err != nil {
			return Order{}, errStays(table, err)
		}
	}
	o, err := p.order(ctx, table, func(o Order) (Order, error) { return l.apply(o), nil })
	if err == nil && cut != 0 {
		_, err = p.Cut(ctx, cut)
	}
	if err != nil {
		return o, errStays(table, err)
	}
	p.log.Info("table is to be handed over to another pipeline", "table", table, "to", l.To, "lsn", l.At)
	p.awake()
	return o, nil
}

// holdFor lets the pipeline hold still, and finds the position to leave a table at, which it has not read beyond.
func (p *Pipeline) holdFor(ctx context.Context, t *target, l *Leaving) (cut change.LSN, err error) {
	if s := t.snapshot(); s.State != Streaming {
		return 0, fmt.Errorf("it is %s: let it come into step first, or --copy reads all rows from the new source", s.State)
	}
	read, err := p.Hold(ctx)
	if err != nil {
		return 0, err
	}
	end, err := p.opts.Source.Emit(ctx, "leave")
	standby := errors.Is(err, change.ErrReadOnly)
	switch {
	case standby && l.At == 0:
		err = errors.New("the pipeline reads a standby: --until says up to where the primary was written (select pg_current_wal_lsn())")
	case err != nil && !standby:
	case l.At > end:
		err = fmt.Errorf("--until says %s, and the source's log ends at %s", l.At, end)
	case l.At != 0 && l.At < read:
		err = fmt.Errorf("--until says %s, and the pipeline has read up to %s: say that, where nothing was written to the table in between", l.At, read)
	default:
		err = nil
	}
	if err != nil {
		_, _ = p.Cut(ctx, read) // it goes on
		return 0, err
	}
	if l.At == 0 {
		l.At = max(end, read)
	}
	return l.At, nil
}

// Leave is [Pipeline.Leave] of the slot that has the table.
func (g *Group) Leave(ctx context.Context, table string, l Leaving) (Order, error) {
	p, err := g.streamFor(table, Add)
	if err != nil {
		return Order{}, err
	}
	return p.Leave(ctx, table, l)
}

// RequestLeave is [Pipeline.Leave] of a pipeline that nobody runs. Where it has read up to the position, the table
// is left at once, else by its next run.
func RequestLeave(ctx context.Context, lake storage.Store, pipeline, table string, l Leaving) (o Order, err error) {
	if ShardOf(pipeline) != "" {
		return Order{}, errStays(table, errShardsAdopt)
	}
	err = inItsPlace(ctx, lake, pipeline, table, func(key string) error {
		orders, err := readOrders(ctx, lake, key)
		if err != nil {
			return err
		}
		o = orders[table]
		done, err := l.said(o)
		if err != nil {
			return errStays(table, err)
		}
		if done {
			l = *o.Leaves
		}
		if l.Left = l.Left || l.Anyhow; !l.Left {
			if l.Left, err = leftAt(ctx, lake, key, table, &l); err != nil {
				return errStays(table, err)
			}
		}
		if done && l == *o.Leaves {
			return nil
		}
		o = l.apply(o)
		return writeOrders(ctx, lake, key, withOrder(orders, table, o))
	})
	return o, err
}

// leftAt reports whether a table of a pipeline that nobody runs has all before a position, and nothing behind it.
func leftAt(ctx context.Context, lake storage.Store, key, table string, l *Leaving) (bool, error) {
	record, err := readProgress(ctx, lake, key)
	switch {
	case err != nil:
		return false, err
	case record == nil || !record.has(table):
		return false, errors.New("the lake knows nothing of it: does the pipeline have another lake, or was it dropped?")
	case l.At == 0:
		return false, fmt.Errorf("nobody runs the pipeline: start it, so that it reads its source's log to the end, or say --until %s, which is how far it has read, where nothing was written to the table since", record.LSN)
	case record.LSN < l.At:
		return false, nil
	case !record.inStep(table):
		return false, errors.New("changes of it wait in the spool, or it stopped: run the pipeline until it is in step, or --copy reads all rows from the new source")
	}
	t, err := hudi.Open(ctx, storage.Sub(lake, l.Path), hudi.Options{})
	if err != nil {
		return false, err
	}
	at, err := anyCheckpoint(ctx, t)
	switch {
	case err != nil:
		return false, err
	case at == nil || at.Table != table:
		return false, fmt.Errorf("folder %s holds another table", l.Path)
	case at.LSN > l.At:
		return false, fmt.Errorf("--until says %s, and it has changes up to %s: say that, where nothing was written to the table in between", l.At, at.LSN)
	}
	return true, nil
}

// leavesAt is the first position from one on at which a table is to be left; 0: none is.
func (p *Pipeline) leavesAt(from change.LSN) (at change.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.orders {
		if l := o.Leaves; l != nil && !l.Left && l.At >= from && (at == 0 || l.At < at) {
			at = l.At
		}
	}
	return at
}

// obeyLeaving leaves a table once it has all that it is to have. What was written of it behind the position, by a
// drain that did not end there, keeps it here: somebody has to say another.
func (p *Pipeline) obeyLeaving(ctx context.Context, t *target, l Leaving) {
	switch {
	case t.job || !l.Anyhow && (!t.direct() || p.written < l.At):
		t.report(func(s *TableStatus) { s.Note = l.String() })
		return
	case !l.Anyhow && t.at.LSN > l.At:
		p.log.Error("table is not handed over: it was written beyond the position", "table", t.name, "to", l.To, "lsn", l.At, "written", t.at.LSN)
		if _, err := p.order(ctx, t.name, func(o Order) (Order, error) { o.Leaves = nil; return o, nil }); err != nil {
			p.log.Warn("cannot note in the lake that a table stays", "table", t.name, "error", err)
		}
		t.report(func(s *TableStatus) {
			s.Note = fmt.Sprintf("it was not handed over: it has changes up to %s, behind %s: say `lakefeed repoint --switch` again", t.at.LSN, l.At)
		})
		return
	}
	l.Left = true
	if _, err := p.order(ctx, t.name, func(o Order) (Order, error) { return l.apply(o), nil }); err != nil {
		p.log.Warn("cannot note in the lake that a table is left", "table", t.name, "error", err)
		return // the next round tries again
	}
	p.phase("left")
	p.log.Info("table is handed over to another pipeline", "table", t.name, "to", l.To, "lsn", l.At)
	p.leave(ctx, t)
}

// comesBack refuses to take a table back into a pipeline while another one goes on with it.
func comesBack(ctx context.Context, lake storage.Store, pipeline, table string, o Order) error {
	if !o.handedOver() {
		return nil
	}
	l := o.Leaves
	theirs, err := ReadOrders(ctx, lake, l.To)
	if err != nil {
		return err
	}
	for name, their := range theirs {
		if a := their.Adopt; a != nil && a.From != nil && a.From.Pipeline == pipeline && a.From.Table == table {
			return fmt.Errorf("pipeline %s is about to go on with it: `lakefeed remove %s` there first", l.To, name)
		}
	}
	t, err := hudi.Open(ctx, storage.Sub(lake, l.Path), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := anyCheckpoint(ctx, t)
	if err == nil && at != nil && at.Pipeline != pipeline {
		err = fmt.Errorf("pipeline %s goes on with it: `lakefeed repoint --from %s` brings it back", at.Pipeline, at.Pipeline)
	}
	return err
}
