package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// SchemaPlan is what the source has of one table otherwise than the lake, what its policy
// makes of that, and what it takes to have all of it taken on.
type SchemaPlan struct {
	Table   string       `json:"table"`
	Policy  SchemaPolicy `json:"policy"`
	Waits   string       `json:"waits,omitempty"` // why it is set aside
	Changes []PlanChange `json:"changes"`
	// Frozen are the columns that the table has in the lake, where its policy keeps to them.
	Frozen []string `json:"frozen,omitempty"`
	// Action is what applying it does, with about so many bytes and rows to be read, of the
	// source or, where older rows get a default, of the lake.
	Action Action `json:"action"`
	Bytes  int64  `json:"bytes,omitempty"`
	Rows   int64  `json:"rows,omitempty"`
	Error  string `json:"error,omitempty"` // why it cannot be told
}

// Pending reports whether there is something to apply.
func (s *SchemaPlan) Pending() bool { return s.Action != NoAction || s.Waits != "" }

// PlanChange is one change in a plan.
type PlanChange struct {
	Decided
	Apply Decision `json:"apply"` // what applying makes of it
	Text  string   `json:"text"`
}

// Action is what applying a plan does.
type Action string

// The actions.
const (
	NoAction    Action = "nothing"
	InPlace     Action = "in place"      // by one commit
	FillInPlace Action = "fill in place" // older rows get a default: every file is written anew
	CopyTable   Action = "copy anew"     // beside the stream
)

// PlanOptions are what a plan is made with.
type PlanOptions struct {
	Name  string // of the pipeline
	Lake  storage.Store
	Table func(*change.Table) TableOptions
	Only  func(table string) bool // nil: every table
}

// PlanSchema compares what a look saw of the source's tables with the lake. Nothing is changed.
func PlanSchema(ctx context.Context, o PlanOptions, tables []*change.Table) ([]SchemaPlan, error) {
	folders, err := ReadFolders(ctx, o.Lake, o.Name)
	if err != nil {
		return nil, err
	}
	orders, err := ReadOrders(ctx, o.Lake, o.Name)
	if err != nil {
		return nil, err
	}
	var plans []SchemaPlan
	for i, path := range tablePaths(tables, o.Table, folders) {
		v := tables[i]
		if v.LogOnly || o.Only != nil && !o.Only(v.String()) || orders[v.String()].Removed {
			continue
		}
		t := &target{name: v.String(), source: v, path: path, store: storage.Sub(o.Lake, path), quarantine: &quarantine{}}
		if o.Table != nil {
			t.options = o.Table(v)
		}
		s := SchemaPlan{Table: t.name, Policy: t.policy(), Action: NoAction}
		if order := orders[t.name]; order.Held != "" {
			s.Waits = order.Why
		}
		if err := planTable(ctx, t, o.Name, &s); err != nil {
			s.Error = err.Error()
		}
		plans = append(plans, s)
	}
	return plans, nil
}

// planTable fills in one table's plan.
func planTable(ctx context.Context, t *target, pipeline string, s *SchemaPlan) (err error) {
	t.table, err = hudi.Open(ctx, t.store, hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return nil // its first copy takes it as it is
	}
	if err != nil {
		return err
	}
	at, err := readCheckpoint(ctx, t.table, pipeline)
	switch {
	case err != nil:
		return err
	case at == nil || at.Pipeline != pipeline || at.Table != t.name:
		return fmt.Errorf("%s has no checkpoint of this pipeline and table", t.store)
	}
	t.at, t.partitions = *at, at.Partitions
	_, now, err := t.decide(t.source, false)
	if err := undecided(err); err != nil {
		return err
	}
	_, applied, err := t.decide(t.source, true)
	if err := undecided(err); err != nil {
		return err
	}
	for i, d := range now {
		s.Changes = append(s.Changes, PlanChange{d, applied[i].Decision, d.String()})
	}
	if t.policy() == FreezeSchema {
		for _, k := range t.at.Columns {
			s.Frozen = append(s.Frozen, k.Name)
		}
	}
	s.Action, s.Bytes, s.Rows = t.actionOf(applied)
	return nil
}

// undecided is an error that is none of a decision.
func undecided(err error) error {
	_, waits := errors.AsType[*SchemaWaitError](err)
	_, anew := errors.AsType[*AnewError](err)
	if waits || anew {
		return nil
	}
	return err
}

// actionOf is what taking changes on does.
func (t *target) actionOf(list []Decided) (a Action, bytes, rows int64) {
	a = NoAction
	for _, d := range list {
		switch {
		case d.Decision == CopiedAnew:
			return CopyTable, t.source.Bytes, t.source.RowsEstimate
		case d.Decision == TakenOn && d.Kind == ColumnAdded && t.hasDefault(d.Column):
			a, bytes, rows = FillInPlace, t.source.Bytes, t.source.RowsEstimate
		case d.Decision == TakenOn && a == NoAction:
			a = InPlace
		}
	}
	return a, bytes, rows
}

// hasDefault reports whether rows older than a column have a value in it.
func (t *target) hasDefault(column string) bool {
	return slices.ContainsFunc(t.source.Columns, func(c change.Column) bool { return c.Name == column && c.Missing != nil })
}
