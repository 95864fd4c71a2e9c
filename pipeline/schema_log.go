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

// Each table's record <lake>/_lakefeed/schema/<pipeline>/<table> holds what was last seen of
// it in the source, and a log of what was changed: one write brings both, so that a change is
// logged once, whenever a crash comes.

// mostLogged is how many events of a table are kept, the newest ones.
const mostLogged = 1000

// SchemaEvent is an entry of a table's log of changes.
type SchemaEvent struct {
	LSN    change.LSN   `json:"lsn"` // where in the source's log it was found
	Time   time.Time    `json:"time"`
	Policy SchemaPolicy `json:"policy"`
	Decided
	Text string `json:"text"`
}

// schemaRecord is the record of one table.
type schemaRecord struct {
	Table  string        `json:"table"`
	At     change.LSN    `json:"at"` // what was seen is of here
	Seen   description   `json:"seen"`
	Events []SchemaEvent `json:"events"`
	// Copies are when new copies were begun because of changes, within the last hour.
	Copies []time.Time `json:"copies,omitempty"`
}

func schemaName(pipeline, table string) string {
	return "_lakefeed/schema/" + folderName(pipeline) + "/" + tableFolder(table)
}

// ReadSchemaLog is the log of changes of a table, oldest first; empty where there were none.
func ReadSchemaLog(ctx context.Context, lake storage.Store, pipeline, table string) ([]SchemaEvent, error) {
	r, err := readSchemaRecord(ctx, lake, pipeline, table)
	if r == nil {
		return nil, err
	}
	return r.Events, nil
}

func readSchemaRecord(ctx context.Context, lake storage.Store, pipeline, table string) (*schemaRecord, error) {
	name := schemaName(pipeline, table)
	b, _, err := lake.Get(ctx, name)
	switch {
	case errors.Is(err, storage.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the log of schema changes: %w", &LakeError{err})
	}
	r := new(schemaRecord)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read the log of schema changes: %w; it is for people only: remove the file", &hudi.CorruptError{File: name, Err: err})
	}
	return r, nil
}

// schemaOf is the record of a table. Where there is none, or it is damaged, what the lake
// has of the table was seen last.
func (p *Pipeline) schemaOf(ctx context.Context, t *target) (*schemaRecord, error) {
	if t.schema != nil {
		return t.schema, nil
	}
	r, err := readSchemaRecord(ctx, p.opts.Lake, p.opts.Name, t.name)
	if _, damaged := errors.AsType[*hudi.CorruptError](err); damaged {
		p.log.Warn("the log of schema changes begins anew", "table", t.name, "error", err)
	} else if err != nil {
		return nil, err
	}
	if r == nil {
		r = &schemaRecord{Table: t.name, At: t.at.LSN, Seen: t.at.description}
	} else if r.At < t.at.LSN {
		r.Seen.refresh(&t.at.description)
	}
	t.schema = r
	return r, nil
}

// refresh takes over how the columns were written from a later description: changes to that
// are told by two that follow each other.
func (d *description) refresh(later *description) {
	if d.TableID != later.TableID {
		return
	}
	d.Storage = later.Storage
	d.Columns = slices.Clone(d.Columns)
	for i := range d.Columns {
		if k, ok := later.numbered(d.Columns[i].ID); ok {
			d.Columns[i].Shape, d.Columns[i].Default, d.Columns[i].Type, d.Columns[i].Reads = k.Shape, k.Default, k.Type, k.Reads
		}
	}
}

// noteSchema logs what version v, met at a position, has otherwise than the version before it,
// and tells of it. What was met before is not told twice.
func (p *Pipeline) noteSchema(ctx context.Context, t *target, v *change.Table, list []Decided, since, at change.LSN) error {
	r, err := p.schemaOf(ctx, t)
	if err != nil || at <= r.At || t.at.LSN == 0 {
		return err
	}
	r.Seen.leaves = t.at.leaves
	next := *r
	next.At = at
	next.Seen.describe(v)
	if v.Constraints != nil {
		next.Seen.Constraints = v.Constraints
	}
	var fresh []SchemaEvent
	for _, c := range r.Seen.changes(v, nil) {
		fresh = append(fresh, SchemaEvent{LSN: since, Time: time.Now().UTC(), Policy: t.policy(), Decided: Decided{c, decisionOn(c, list)}, Text: c.String()})
	}
	next.Events = slices.Concat(r.Events, fresh)
	if len(fresh) == 0 {
		t.schema = &next // what is written with the next change
		return nil
	}
	if err := p.writeSchema(ctx, t, &next); err != nil {
		return err
	}
	for _, e := range fresh {
		p.tellChange(t, e)
	}
	return nil
}

// decisionOn is what was decided on a change; fresh changes are told against the version
// before, and decisions against the lake.
func decisionOn(c SchemaChange, list []Decided) Decision {
	if c.Kind == ConstraintChanged {
		return Recorded
	}
	rank := map[Decision]int{TakenOn: 1, Recorded: 2, CopiedAnew: 3, Waits: 4}
	same, worst := Decision(""), Decision("")
	for _, d := range list {
		if d.Column == c.Column && d.Kind == c.Kind {
			return d.Decision
		}
		if d.Column == c.Column {
			same = d.Decision
		}
		if d.Kind != ConstraintChanged && rank[d.Decision] > rank[worst] {
			worst = d.Decision
		}
	}
	switch {
	case same != "":
		return same
	case worst != "":
		return worst
	}
	return TakenOn // the lake has it: it was changed back
}

func (p *Pipeline) tellChange(t *target, e SchemaEvent) {
	tell := p.log.Warn
	if e.Decision == Recorded && e.Kind == ConstraintChanged {
		tell = p.log.Info
	}
	tell("schema changed", "table", t.name, "change", e.Text, "decision", string(e.Decision), "policy", string(e.Policy), "lsn", e.LSN)
	t.report(func(s *TableStatus) { s.SchemaChanges++ })
}

// noteEvent logs what was done about changes.
func (p *Pipeline) noteEvent(ctx context.Context, t *target, at change.LSN, decision Decision, text string) error {
	r, err := p.schemaOf(ctx, t)
	if err != nil {
		return err
	}
	next := *r
	next.Events = append(slices.Clip(next.Events), SchemaEvent{LSN: at, Time: time.Now().UTC(), Policy: t.policy(), Decided: Decided{Decision: decision}, Text: text})
	return p.writeSchema(ctx, t, &next)
}

func (p *Pipeline) writeSchema(ctx context.Context, t *target, r *schemaRecord) error {
	if n := len(r.Events) - mostLogged; n > 0 {
		r.Events = r.Events[n:]
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the log of schema changes: %w", err)
	}
	if err := p.opts.Lake.Put(ctx, schemaName(p.opts.Name, t.name), b); err != nil {
		return fmt.Errorf("write the log of schema changes: %w", &LakeError{err})
	}
	t.schema = r
	return nil
}
