package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// ValidateOptions say what to compare with what.
type ValidateOptions struct {
	Name    string
	Source  Source // of its own: a running pipeline keeps its own connection
	Lake    storage.Store
	Table   func(*change.Table) TableOptions
	Only    func(table string) bool // nil: every table
	Samples int                     // differences to describe for each table, default 10
	Logger  *slog.Logger            // silent when nil

	// Hold asks the pipeline that feeds the lake to hold still, and Cut to commit
	// exactly what commits before a position; it returns the newest instant of
	// every table. With no pipeline running, Hold is nil and Cut runs one.
	Hold func(ctx context.Context) error
	Cut  func(ctx context.Context, at change.LSN) (map[string]string, error)
}

// Report is what a validation found.
type Report struct {
	At     change.LSN    `json:"lsn"` // the last position at which tables were compared
	Tables []TableReport `json:"tables"`
}

// OK reports whether nothing differs.
func (r *Report) OK() bool {
	for _, t := range r.Tables {
		if !t.OK() {
			return false
		}
	}
	return true
}

// TableReport is the comparison of one table.
type TableReport struct {
	Table      string     `json:"table"`
	At         change.LSN `json:"lsn"` // where it was compared
	Instant    string     `json:"instant"`
	AppendOnly bool       `json:"append_only"`
	SourceRows int64      `json:"source_rows"`
	LakeRows   int64      `json:"lake_rows"`
	Different  int64      `json:"different"` // rows that are missing, extra or unlike, as far as they were counted
	// Quarantined is the rows of the source that the table cannot hold, and that are in quarantine.
	Quarantined int64 `json:"quarantined,omitempty"`
	// LakeOnly is, of an append-only table, the rows that the lake has beyond the source,
	// which has changed or deleted them. That is no difference.
	LakeOnly int64        `json:"lake_only,omitempty"`
	Samples  []Difference `json:"samples,omitempty"`
	Error    string       `json:"error,omitempty"` // why it could not be compared
}

// OK reports whether the table was compared and nothing differs.
func (t *TableReport) OK() bool { return t.Error == "" && t.Different == 0 }

// Difference is one row, or one value of it, that differs.
type Difference struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"` // "missing in the lake", "in quarantine, though it fits", "missing in the quarantine", "not in the source", "different", "twice in the lake"
	Column string `json:"column,omitempty"`
	Source string `json:"source,omitempty"`
	Lake   string `json:"lake,omitempty"`
}

// Validate compares every row of the source's tables, under one snapshot, with
// the lake as it is at the same position, by key and column. Memory stays bounded:
// both sides are first summed up by ranges of keys, and only ranges whose sums
// differ are looked at row by row.
//
// A snapshot does not show a table that is truncated, or written anew by an ALTER
// TABLE, after it was opened: such a table is compared once more at a later position.
//
// For a table without a key it proves that record keys are unique and that every
// row of the source is there as often as in the source; the lake may hold more,
// since updates and deletes do not reach it.
func Validate(ctx context.Context, o ValidateOptions) (*Report, error) {
	if o.Samples == 0 {
		o.Samples = 10
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	tables, err := o.Source.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tables of the source: %w", err)
	}
	folders, err := ReadFolders(ctx, o.Lake, o.Name)
	if err != nil {
		return nil, err
	}
	orders, err := ReadOrders(ctx, o.Lake, o.Name)
	if err != nil {
		return nil, err
	}
	var todo []*validation
	for i, path := range tablePaths(tables, o.Table, folders) {
		if t := tables[i]; !t.LogOnly && !orders[t.String()].handedOver() && (o.Only == nil || o.Only(t.String())) {
			todo = append(todo, &validation{o: o, source: t, table: t, store: storage.Sub(o.Lake, path), quarantine: storage.Sub(o.Lake, QuarantineOf(path, ShardOf(o.Name)))})
		}
	}
	all := todo
	for try := 1; len(todo) > 0 || try == 1; try++ {
		if todo, err = validateAt(ctx, o, todo, try == snapshots); err != nil {
			return nil, err
		}
	}
	report := new(Report)
	for _, v := range all {
		report.At = max(report.At, v.report.At)
		report.Tables = append(report.Tables, v.report)
	}
	return report, nil
}

// validateAt compares tables at one position. It returns those that the source's
// snapshot does not show any more, unless it is the last one that is tried.
func validateAt(ctx context.Context, o ValidateOptions, todo []*validation, last bool) (again []*validation, err error) {
	if o.Hold != nil {
		if err := o.Hold(ctx); err != nil {
			return nil, fmt.Errorf("ask the running pipeline to hold still: %w", err)
		}
	}
	at, err := o.Source.OpenSnapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	defer func() { _ = o.Source.CloseSnapshot(context.WithoutCancel(ctx)) }()
	instants, err := o.Cut(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("bring the lake to %s: %w", at, err)
	}
	for _, v := range todo {
		err := v.run(ctx, at, instants[v.table.String()])
		changed := changedMeanwhile(err)
		if changed && !last {
			err = errors.Join(err, v.describe(ctx))
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case changed && !last:
			o.Logger.Info("table is compared at another position", "table", v.table, "error", err)
			again = append(again, v)
			continue
		case changed:
			v.report.Error = err.Error() + "; run validate again when that has an end"
		case err != nil:
			v.report.Error = err.Error()
		}
		o.Logger.Info("table compared", "table", v.table, "source", v.report.SourceRows, "lake", v.report.LakeRows, "different", v.report.Different)
	}
	return again, nil
}

// describe looks anew at a table that was altered.
func (v *validation) describe(ctx context.Context) error {
	look, err := v.o.Source.Look(ctx)
	if err != nil {
		return err
	}
	for _, t := range look.Tables {
		if t.String() == v.source.String() {
			v.source = t
		}
	}
	return nil
}

// validation is the comparison of one table.
type validation struct {
	o      ValidateOptions
	source *change.Table
	table  *change.Table // as it is compared
	seen   *met
	at     change.LSN
	store  storage.Store
	lake   *hudi.Table
	layout *layout
	report TableReport

	quarantine storage.Store
	aside      *aside
}

func (v *validation) run(ctx context.Context, at change.LSN, instant string) error {
	v.at = at
	v.report = TableReport{Table: v.table.String(), At: at, Instant: instant, AppendOnly: v.table.KeyKind == change.NoKey}
	if err := v.open(ctx); err != nil {
		return err
	}
	defer v.compareAside()
	if v.report.AppendOnly {
		return v.runAppendOnly(ctx)
	}
	source, err := v.sums(ctx, v.eachSource, &v.report.SourceRows)
	if err != nil {
		return err
	}
	lake, err := v.sums(ctx, v.eachLake, &v.report.LakeRows)
	if err != nil {
		return err
	}
	ranges := differing(source, lake)
	if len(ranges) == 0 {
		return nil
	}
	return v.compareRanges(ctx, ranges)
}

// open opens the table and sees that its commit covers what the snapshot shows, no less and no more.
func (v *validation) open(ctx context.Context) error {
	if v.report.Instant == "" {
		return errors.New("the table is not in step: it has stopped, or was not copied yet (lakefeed status says why)")
	}
	t, err := hudi.Open(ctx, v.store, hudi.Options{Logger: v.o.Logger})
	if err != nil {
		return fmt.Errorf("open %s: %w", v.store, err)
	}
	at, err := readCheckpoint(ctx, t, v.o.Name)
	if err != nil {
		return err
	}
	if at == nil || at.LSN > v.at && v.o.Hold == nil {
		return fmt.Errorf("the table's newest commit is beyond %s: run validate again", v.at)
	}
	v.lake = t
	if err := v.openAside(ctx, max(v.at, at.LSN)); err != nil {
		return err
	}
	if err := v.see(at); err != nil {
		return err
	}
	schema, added, err := evolve(v.table, t.Schema())
	if err != nil {
		return err
	}
	for _, c := range added { // a column that the stream has not brought yet, since no row changed
		if v.table.Columns[c].Missing != nil {
			return fmt.Errorf("column %s is new in the source and no change has brought it to the lake yet", v.table.Columns[c].Name)
		}
	}
	v.layout, err = newLayout(v.table, schema)
	return err
}

// see finds what of the source the lake has: a table's columns may be frozen.
func (v *validation) see(at *checkpoint) (err error) {
	t := &target{name: v.source.String(), table: v.lake, at: *at}
	if v.o.Table != nil {
		t.options = v.o.Table(v.source)
	}
	v.seen = &met{t: t, version: v.source}
	if v.seen.view, err = t.viewOf(v.source, false); err != nil {
		return err
	}
	v.table = v.seen.shown()
	return nil
}

// readPin is how long the lake keeps what a comparison reads if its process dies: a
// living one renews it.
const readPin = 5 * time.Minute

// rows is consecutive rows of one side: the source's columns, in the lake's types, and the record keys.
type rows struct {
	columns []arrow.Array // one for each column of the source table
	keys    *array.String
	n       int
}

// each hands over all rows of one side.
type each func(ctx context.Context, fn func(rows) error) error

func (v *validation) eachSource(ctx context.Context, fn func(rows) error) error {
	return v.o.Source.Copy(ctx, v.seen.read(), func(b *change.Batch) error {
		s, err := v.seen.copied(b)
		if err != nil {
			return err
		}
		fit, keys, err := v.fitting(s.Batch, s.keys)
		if err != nil {
			return err
		}
		r := rows{keys: keys, n: keys.Len()}
		for i, name := range v.layout.names {
			f := v.layout.schema.Field(v.layout.schema.FieldIndices(name)[0])
			a, err := as(fit.Column(i), f.Type)
			if err != nil {
				return err
			}
			r.columns = append(r.columns, a)
		}
		return fn(r)
	})
}

// ownRows is the condition of the rows that the source's are compared with: a shard's are not all.
func (v *validation) ownRows() hudi.Filter { return ownRows(ShardOf(v.o.Name)) }

func (v *validation) eachLake(ctx context.Context, fn func(rows) error) error {
	const key = "_hoodie_record_key"
	columns := []string{key}
	for _, name := range v.layout.names {
		if len(v.lake.Schema().FieldIndices(name)) > 0 {
			columns = append(columns, name)
		}
	}
	for rec, err := range v.lake.Read(ctx, hudi.ReadOptions{Columns: columns, AsOf: v.report.Instant, Pin: readPin, Filter: v.ownRows()}) {
		if err != nil {
			return fmt.Errorf("read %s: %w", v.store, err)
		}
		r := rows{n: int(rec.NumRows())}
		for _, name := range v.layout.names {
			f := v.layout.schema.Field(v.layout.schema.FieldIndices(name)[0])
			if at := rec.Schema().FieldIndices(name); len(at) > 0 {
				a, err := as(rec.Column(at[0]), f.Type)
				if err != nil {
					return err
				}
				r.columns = append(r.columns, a)
			} else {
				r.columns = append(r.columns, array.MakeArrayOfNull(mem, f.Type, r.n))
			}
		}
		at := rec.Schema().FieldIndices(key)
		if len(at) == 0 {
			return fmt.Errorf("read %s: no column %s", v.store, key)
		}
		r.keys = rec.Column(at[0]).(*array.String)
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}
