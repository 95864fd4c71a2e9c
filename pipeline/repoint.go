package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lakefeed/change"
)

// A table of another pipeline is taken over as one of another job is (takeover.go), where a service moves to another
// database: that pipeline leaves it (leave.go), exactly at a position of its own log. What is kept of this source's
// changes begins before somebody writes to it on his own; before that, it has what the other one has. So a row that no
// change in [L, W) touches is in the table as it was at L, when that has all of the other source: docs/adr/0026.

// Origin is where a table goes on from: that of another pipeline of the lake, which reads another source.
type Origin struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"` // its name there
	// Since is from where on the changes of the new source are kept; 0: that has not begun.
	Since change.LSN `json:"since,omitzero"`
	// Begins says that before it nobody wrote to the new source what the other one does not have; 0: it is not said.
	Begins change.LSN `json:"begins,omitzero"`
}

// goesOn is where a table goes on from by what is said now, behind what was said before.
func (a *Adoption) goesOn(before *Adoption) (*Origin, error) {
	from := *a.From
	from.Since = 0
	if before != nil && before.From != nil && before.From.Pipeline == from.Pipeline && before.From.Table == from.Table && a.Stopped {
		from.Since = before.From.Since
	}
	switch {
	case !a.Stopped || a.Copy:
	case from.Since == 0:
		return nil, errors.New("the pipeline does not keep its changes yet: `lakefeed repoint` without --switch lets it, once it runs, and `lakefeed status` says from which position on")
	case from.Begins != 0 && from.Begins < from.Since:
		return nil, fmt.Errorf("--since says %s, and the pipeline keeps its changes from %s on: what came between is lost to it, and --copy reads all rows from the new source", from.Begins, from.Since)
	}
	return &from, nil
}

// kept refuses a stage of which changes are missing that somebody was told are kept: they may be more than what the
// other source has.
func (o *Origin) kept(s *stage) error {
	if o == nil || o.Since == 0 || s != nil && s.head.From <= o.Since {
		return nil
	}
	return &awaitsError{what: fmt.Sprintf("its changes from %s on are not kept any more (the spool was full, the slot was made anew, or the table was altered): if nobody but the other source has written to this one yet, `lakefeed repoint` without --switch begins again, else `lakefeed repoint --switch --copy` reads all rows from it", o.Since)}
}

// noteKept notes in the lake from where on changes are kept.
func (p *Pipeline) noteKept(ctx context.Context, t *target, a *Adoption) error {
	if a.From == nil || a.From.Since != 0 {
		return nil
	}
	_, err := p.order(ctx, t.name, func(o Order) (Order, error) {
		if o.Adopt == nil || o.Adopt.From == nil {
			return o, nil
		}
		a, from := *o.Adopt, *o.Adopt.From
		from.Since = t.stage.head.From
		a.From, o.Adopt = &from, &a
		return o, nil
	})
	return err
}

// comesFrom reports whether a checkpoint is that of the table of another pipeline which is to be taken over.
func (p *Pipeline) comesFrom(t *target, at *checkpoint) bool {
	a := p.orderOf(t.name).Adopt
	return p.opts.Shards == nil && a != nil && a.From != nil && at.Writer == "" && at.Pipeline == a.From.Pipeline && at.Table == a.From.Table
}

// handedOver is an *awaitsError while the pipeline that kept the table may still write into it.
func (p *Pipeline) handedOver(ctx context.Context, t *target) error {
	a := p.orderOf(t.name).Adopt
	if a == nil || a.From == nil {
		return nil
	}
	orders, err := ReadOrders(ctx, p.opts.Lake, a.From.Pipeline)
	if err != nil {
		return err
	}
	switch l := orders[a.From.Table].Leaves; {
	case l == nil:
		return &awaitsError{what: fmt.Sprintf("pipeline %s has not handed it over: `lakefeed repoint --switch` lets it", a.From.Pipeline), soon: true}
	case l.To != p.opts.Name:
		return &awaitsError{what: fmt.Sprintf("pipeline %s hands it over to another pipeline, %s", a.From.Pipeline, l.To)}
	case !l.Left:
		return &awaitsError{what: fmt.Sprintf("pipeline %s goes on with it: %s", a.From.Pipeline, l), soon: true}
	}
	return nil
}

// origin is the newest checkpoint of the pipeline that kept the table; nil where some other job did.
func (p *Pipeline) origin(ctx context.Context, t *target) (*checkpoint, error) {
	a := p.orderOf(t.name).Adopt
	if a == nil || a.From == nil {
		return nil, nil //nolint:nilnil // the other job's table has none
	}
	at, err := anyCheckpoint(ctx, t.table)
	if err == nil && (at == nil || !p.comesFrom(t, at)) {
		err = &awaitsError{what: fmt.Sprintf("folder %s does not hold table %s of pipeline %s any more", t.store, a.From.Table, a.From.Pipeline)}
	}
	return at, err
}

// takeQuarantine lets the quarantine of the pipeline that kept the table be this one's: it begins anew, and rows
// that are in it are in the source alone.
func (p *Pipeline) takeQuarantine(ctx context.Context, t *target, f *foreign) error {
	if f.from == nil {
		return nil
	}
	if err := t.quarantine.open(ctx, f.from.LSN); err != nil {
		return err
	}
	if n := len(t.quarantine.keys); n > 0 {
		f.unread = append(f.unread, fmt.Sprintf("%d rows are in its quarantine", n))
	}
	t.quarantine.at = 0
	return nil
}

// left are the columns of the pipeline's table that the new source does not have.
func (f *foreign) left(names []string) (left []string) {
	if f.from == nil {
		return nil
	}
	for _, k := range f.from.Columns {
		if !slices.Contains(names, k.Lake) && f.table.Schema().HasField(k.Lake) {
			left = append(left, k.Name)
		}
	}
	return left
}

// copyBy is the command that has all rows read from the source.
func (f *foreign) copyBy() string {
	if f != nil && f.from != nil {
		return "`lakefeed repoint --switch --copy`"
	}
	return "`lakefeed adopt --stopped --copy`"
}

// ErrRepointed is of a table that goes on from the new source already.
var ErrRepointed = errors.New("it is this pipeline's already")

// keptBy refuses a checkpoint of a table that is not the one to be taken over: of another pipeline or, with from
// empty, of any.
func (c *checkpoint) keptBy(from, pipeline, name, path string) error {
	switch {
	case c == nil && from == "":
		return nil
	case c == nil:
		return &TableError{name, fmt.Errorf("folder %s holds a table of another job, and none of pipeline %s: `lakefeed adopt` takes that over", path, from)}
	case from != "" && c.Pipeline == pipeline && c.Table == name:
		return &TableError{name, ErrRepointed}
	case from == "":
		return &TableError{name, fmt.Errorf("folder %s belongs to table %s of pipeline %s: it is Lakefeed's already, and `lakefeed repoint` lets it go on from another source", path, c.Table, c.Pipeline)}
	case c.Writer != "":
		return &TableError{name, errShardsAdopt}
	case c.Pipeline != from:
		return &TableError{name, fmt.Errorf("folder %s belongs to table %s of pipeline %s, and not to pipeline %s", path, c.Table, c.Pipeline, from)}
	}
	return nil
}

// CheckRepoint is an error where a table's order does not let it go on as is said now.
func CheckRepoint(o Order, a Adoption) error {
	_, err := a.apply(o)
	return err
}
