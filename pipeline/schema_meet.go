package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A change of a table's schema is met where the stream brings it, by a look at the source's
// catalogs when the lake has come as far, at a start, and by a new copy. Each time it is
// logged, decided on by the table's policy, and taken on, or not.

// meetRound decides on the version of the table that a round brings.
func (p *Pipeline) meetRound(ctx context.Context, pend *pending, r *round) (*met, error) {
	t, v := pend.target, pend.version
	m, list, err := t.decide(v, t.accepts(v, pend.since), pend.undone()...)
	if noted := p.noteSchema(ctx, t, v, list, pend.since, pend.until(r.to)); noted != nil {
		return nil, noted
	}
	t.showPending(list)
	return m, err
}

// meetLook decides on what the catalogs say of a table whose newest commit is not beyond
// the look. What can be taken on in place is, though no row has changed.
func (p *Pipeline) meetLook(ctx context.Context, t *target, v *change.Table, at change.LSN) error {
	m, list, err := t.decide(v, t.accepts(v, 0))
	if noted := p.noteSchema(ctx, t, v, list, at, at); noted != nil {
		p.log.Warn("cannot log changes of a schema, which waits until that is possible", "table", t.name, "error", noted)
		return nil
	}
	t.showPending(list)
	if err != nil {
		return err
	}
	if !m.frozen() && slices.ContainsFunc(list, func(d Decided) bool { return d.Decision == TakenOn }) {
		if err := p.takeOn(ctx, m); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(list, func(d Decided) bool { return d.rewritten }) {
		t.settleLeaves(v)
	}
	t.at.settle(v)
	if t.accept != nil && (m.accepted || pendingChanges(list) == 0) {
		return p.forgetAcceptance(ctx, t)
	}
	return nil
}

// noteAside logs what a look saw of a table that stands aside: a person who comes to it
// is to know what has come meanwhile.
func (p *Pipeline) noteAside(ctx context.Context, t *target, v *change.Table, at change.LSN) {
	if v == nil || t.failed() || t.job || t.table == nil || t.at.LSN == 0 || !t.paused && t.recopy == nil {
		return
	}
	_, list, _ := t.decide(v, false) // what follows has been done
	if err := p.noteSchema(ctx, t, v, list, at, at); err != nil {
		p.log.Warn("cannot log changes of a schema, which waits until that is possible", "table", t.name, "error", err)
		return
	}
	t.showPending(list)
}

// takeOn gives the table in the lake the columns of a version, by a commit that covers
// nothing more of the source.
func (p *Pipeline) takeOn(ctx context.Context, m *met) error {
	t := m.t
	release, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	was := t.table.Schema()
	schema, err := p.evolveTable(ctx, &pending{target: t, version: m.version}, m, was)
	if err != nil {
		return err
	}
	next := t.at
	m.describe(&next)
	if !schema.Equal(t.table.Schema()) {
		if err := p.commitSchema(ctx, t, schema, next); err != nil {
			return err
		}
	}
	if t.at = next; !schema.Equal(was) {
		p.log.Info("columns taken on", "table", t.name, "instant", newestInstant(t.table))
		t.report(func(s *TableStatus) { s.Instant = newestInstant(t.table) })
	}
	return nil
}

// commitSchema makes a commit of a schema alone.
func (p *Pipeline) commitSchema(ctx context.Context, t *target, schema *arrow.Schema, next checkpoint) error {
	txn, err := t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.Upsert, Schema: schema})
	if err != nil {
		return t.ofSchema(fmt.Errorf("begin: %w", err))
	}
	extra, err := t.extraOf(next)
	if err == nil {
		_, err = txn.Commit(ctx, extra)
	}
	if err != nil {
		_, err = published(ctx, txn, err)
	}
	if err != nil {
		return fmt.Errorf("take on columns: %w", err)
	}
	t.carried(extra)
	p.commits.Add(1)
	return nil
}

// ofSchema makes of a schema that readers could not read the error of a table that has to
// be copied anew.
func ofSchema(err error) error {
	if _, ok := errors.AsType[*hudi.SchemaError](err); ok {
		return &AnewError{What: err.Error(), Schema: true}
	}
	return err
}

// meetStart decides, before the stream begins, on what the catalogs say of a table of which
// nothing is in the spool: what only a new copy helps need not wait for the stream.
func (p *Pipeline) meetStart(ctx context.Context, t *target, look func() (*change.Look, error)) error {
	_, list, err := t.decide(t.source, t.accepts(t.source, 0))
	if t.showPending(list); err == nil {
		return nil
	}
	seen, err := look()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(seen.Tables, func(v *change.Table) bool { return v.String() == t.name })
	if i < 0 {
		return nil // dropped a moment ago
	}
	v := seen.Tables[i]
	_, list, err = t.decide(v, t.accepts(v, 0))
	if noted := p.noteSchema(ctx, t, v, list, seen.At, seen.At); noted != nil {
		return noted
	}
	t.showPending(list)
	return err
}

// meetCopy is how the table is copied: in its frozen columns, or as it is.
func (p *Pipeline) meetCopy(ctx context.Context, t *target, at change.LSN) (*met, error) {
	v := t.source
	accepted := t.accepts(v, 0)
	m := &met{t: t, version: v, accepted: accepted}
	var err error
	if m.view, err = t.viewOf(v, accepted); err != nil {
		return nil, err
	}
	if t.table == nil || t.at.LSN == 0 {
		return m, nil
	}
	var list []Decided
	for _, c := range t.at.changes(v, nil) {
		d := Decided{c, CopiedAnew}
		if c.Kind == ConstraintChanged || m.frozen() && c.anew == "" {
			d.Decision = Recorded
		}
		list = append(list, d)
	}
	return m, p.noteSchema(ctx, t, v, list, at, at)
}

// showPending lets the status say what the lake has not taken on.
func (t *target) showPending(list []Decided) {
	n := pendingChanges(list)
	t.report(func(s *TableStatus) { s.SchemaPending = n })
}

// hold sets a table aside until a person has looked at it.
func (p *Pipeline) hold(t *target, why string, version string) {
	p.log.Error("table waits for a person", "table", t.name, "because", why)
	p.mu.Lock()
	o := p.orders[t.name]
	o.Paused, o.Held, o.Why, o.Since = true, version, why, time.Now().UTC()
	p.orders = withOrder(p.orders, t.name, o)
	p.ordersNew = true
	p.mu.Unlock()
	p.wait(t, why)
}

// wait sets a table aside for which there is such an order.
func (p *Pipeline) wait(t *target, why string) {
	t.paused, t.trouble = true, nil
	p.failures.Delete(t.name)
	t.report(func(s *TableStatus) { s.State, s.Error, s.Since, s.Note = Paused, "", time.Time{}, why })
	t.stand()
}

// recordOrders writes down what a policy has ordered since. Without that the next start
// meets the same change again.
func (p *Pipeline) recordOrders(ctx context.Context) {
	p.mu.Lock()
	fresh := p.ordersNew
	p.mu.Unlock()
	if !fresh {
		return
	}
	if _, err := p.order(ctx, "", func(o Order) (Order, error) { return o, nil }); err != nil {
		p.log.Warn("cannot note in the lake which tables wait for a person", "error", err)
	}
}

// forgetAcceptance is done with what a person took on.
func (p *Pipeline) forgetAcceptance(ctx context.Context, t *target) error {
	done := *t.accept
	_, err := p.order(ctx, t.name, func(o Order) (Order, error) {
		if o.Accept != nil && *o.Accept == done {
			o.Accept = nil
		}
		return o, nil
	})
	if err == nil {
		t.accept = nil
		err = p.noteEvent(ctx, t, done.LSN, Accepted, "what was changed is taken on, as a person wanted")
	}
	if err != nil { // it is of no harm
		p.log.Warn("cannot note that changes of a schema were taken on", "table", t.name, "error", err)
	}
	return nil
}

// Copies that changes of a schema ask for come at once, then after pauses that double, so
// that a table which is altered all day long is not copied all day long.
const (
	copyPause  = 5 * time.Second
	copyPauses = 9 // the longest one is 21 minutes
	copyMemory = time.Hour
)

// copyAfter is when a table may be copied because of a change of its schema.
func (p *Pipeline) copyAfter(t *target) time.Time {
	if t.schema == nil {
		return time.Unix(1, 0)
	}
	var last time.Time
	n := 0
	for _, at := range t.schema.Copies {
		if recent(at) {
			n++
			last = at
		}
	}
	if n < 2 { // a migration has two steps, often
		return time.Unix(1, 0)
	}
	return last.Add(copyPause << min(n-2, copyPauses-1))
}

// recent reports whether a copy that began then counts for the next one's pause. One that is to
// begin in days to come was noted before the clock was set back.
func recent(at time.Time) bool {
	age := time.Since(at)
	return age >= -time.Minute && age < copyMemory
}

// noteCopy remembers that a copy begins.
func (p *Pipeline) noteCopy(ctx context.Context, t *target) error {
	r, err := p.schemaOf(ctx, t)
	if err != nil {
		return err
	}
	next := *r
	next.Copies = nil
	for _, at := range append(slices.Clip(r.Copies), time.Now().UTC()) {
		if recent(at) {
			next.Copies = append(next.Copies, at)
		}
	}
	return p.writeSchema(ctx, t, &next)
}

// lookOnce looks at the catalogs before the message is written to which Once drains: when
// the lake has come to that, the look is judged.
func (p *Pipeline) lookOnce(ctx context.Context) error {
	look, err := p.opts.Source.Look(ctx)
	if err != nil {
		return err
	}
	p.looked.Store(look)
	return nil
}

// awaitsCopy reports whether a change that came with the stream has left a table to be
// copied anew, which Once does in another session.
func (p *Pipeline) awaitsCopy() bool {
	return slices.ContainsFunc(p.all(), func(t *target) bool { return t.recopy != nil && t.recopy.counts && !t.paused })
}
