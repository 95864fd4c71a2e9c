package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// ChangesOptions say which changes of a table to read. The zero value is every row, as
// the whole history of the table left it.
type ChangesOptions struct {
	// From and To bound the commits whose changes are read: those after From and up to
	// To. They are times of commits, in tables of version 8 and later those of their
	// completion, or times as [timeline.ParseInstant] reads them. Empty: from the table's
	// beginning, for which Hudi's "000" and "earliest" stand too, to the last commit.
	From, To string
	// Images reads what each changed row was and is, deleted rows too. Without it the
	// rows are read that were written in between, as they are at To.
	Images bool
	// Columns, Meta, Partitions and BatchRows are those of [ReadOptions].
	Columns    []string
	Meta       bool
	Partitions []string
	BatchRows  int
	// Pin keeps what is read from being cleaned, as that of [ReadOptions] does: the state
	// of To, and with images all from the state of From on.
	Pin time.Duration
}

// The columns of a read with images.
const (
	OpColumn     = "op"     // one of OpInsert, OpUpdate and OpDelete
	BeforeColumn = "before" // the row as it was at From, null for an insert
	AfterColumn  = "after"  // the row as it is at To, null for a delete
)

// What became of a row between From and To. Of several changes of a row only their sum
// is told.
const (
	OpInsert = "insert"
	OpUpdate = "update"
	OpDelete = "delete"
)

// Changes streams what commits changed in a table, in no order. A batch is valid until
// the next step of the iteration, which ends with the first error.
//
// Without images a batch has rows of the table: those that were written after From, as
// they are at To. Rows that were deleted are not among them; as in Hudi's incremental
// queries, rows that came late and lost by their ordering value are. With images it has the
// columns "op", "before" and "after", the latter two structs of the wanted columns, and
// the table must still hold its state of From. Deletes come before all else: a row that
// went from one partition to another is a delete of the one and an insert into the other,
// and stays for who follows by the key. Compaction and clustering change nothing.
// [ErrCleaned] says that a needed state has been cleaned away, or was archived.
//
// A read with images holds some ten thousand changed rows and, for a part of the keys at
// a time, 16 bytes of each key of a partition's changed file groups, however large these
// are.
func (t *Table) Changes(ctx context.Context, opts ChangesOptions) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		err := t.readChanges(ctx, opts, func(batch arrow.RecordBatch) error {
			if !yield(batch, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, fmt.Errorf("read changes of table %s: %w", t.name, err))
		}
	}
}

// changeReader reads the changes between two states of a table.
type changeReader struct {
	table *Table
	opts  ChangesOptions
	whole *timeline.Timeline // as it is now
	end   *timeline.Timeline // as it was at To
	// archived: some files are of writes that were archived.
	archived bool
	late     map[string]string // completions after From of archived writes, where these are not their own times
	full     *arrow.Schema     // of the table at To, with the meta columns
	wanted   *arrow.Schema     // the columns of the answer
	scan     *arrow.Schema     // these, and behind them what is needed to find changed rows

	history       *schemaHistory // of these columns
	historyBefore *schemaHistory // likewise, in files of the state at From

	before, after tableState
	inRange       map[string]bool // of commits, as far as their rows were met
	heldKeys      int             // keys that are held at once; 0: changeKeys
}

// tableState is a table as it was at a time.
type tableState struct {
	timeline *timeline.Timeline
	slices   []*FileSlice
	written  *written
	history  *schemaHistory
}

// ChangesSchema is the schema of the batches of [Table.Changes].
func (t *Table) ChangesSchema(ctx context.Context, opts ChangesOptions) (*arrow.Schema, error) {
	c, err := t.newChanges(ctx, opts)
	switch {
	case err != nil:
		return nil, fmt.Errorf("schema of the changes of table %s: %w", t.name, err)
	case opts.Images:
		return c.imageSchema(), nil
	}
	return c.wanted, nil
}

func (t *Table) readChanges(ctx context.Context, opts ChangesOptions, yield func(arrow.RecordBatch) error) error {
	c, err := t.newChanges(ctx, opts)
	if err != nil {
		return err
	}
	pin, err := c.pin(ctx)
	if err != nil {
		return err
	}
	if pin != nil {
		defer pin.Hold(ctx, opts.Pin)()
	}
	if err := c.readStates(ctx); err != nil {
		return err
	}
	return c.run(ctx, yield)
}

// pin pins the older of the states that are read; nil where none is wanted, or nothing is
// there to read.
func (c *changeReader) pin(ctx context.Context) (*Pin, error) {
	if c.opts.Pin == 0 {
		return nil, nil //nolint:nilnil // a reader that asked for no pin has none
	}
	oldest, ok := c.end.Last()
	if c.opts.Images {
		if before, existed := c.pastOf(c.opts.From).Last(); existed {
			oldest = before
		}
	}
	if !ok {
		return nil, nil //nolint:nilnil // as above
	}
	return c.table.pin(ctx, oldest.Time, c.opts.Pin)
}

// check brings From and To into the form of instants, and refuses what they cannot be.
func (o *ChangesOptions) check() (err error) {
	if o.From == "earliest" || strings.Trim(o.From, "0") == "" {
		o.From = ""
	}
	if o.From, err = parsePoint("From", o.From); err != nil {
		return err
	}
	if o.To, err = parsePoint("To", o.To); err != nil {
		return err
	}
	return checkAmounts(map[string]int{"BatchRows": o.BatchRows})
}

func (t *Table) newChanges(ctx context.Context, opts ChangesOptions) (*changeReader, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.To != "" && opts.To < opts.From {
		return nil, fmt.Errorf("from %s to %s: the end is before the beginning", opts.From, opts.To)
	}
	if t.keys.virtual {
		return nil, &UnsupportedError{propMetaFields, "false", "its rows do not tell which commit wrote them: compare two reads as of instants"}
	}
	t.mu.RLock()
	full, latest, tl, props, archived := t.full, t.latest, t.timeline, t.props, t.view.archivedTimes(t.timeline)
	t.mu.RUnlock()
	c := &changeReader{table: t, opts: opts, whole: tl, end: tl, archived: len(archived) > 0, full: full, inRange: map[string]bool{}}
	var err error
	if c.late, err = t.archivedAfter(ctx, props, tl, opts.From, c.archived); err != nil {
		return nil, err
	}
	until := ""
	if opts.To != "" {
		c.end = c.pastOf(opts.To)
		if newest, ok := c.end.Last(); ok {
			until = newest.Time
			if c.full, err = t.schemaAsOf(ctx, c.end, until, full); err != nil {
				return nil, err
			}
			if latest, err = t.latestSchema(ctx, c.end, until); err != nil {
				return nil, err
			}
		}
	}
	if c.history, err = t.historyOf(ctx, tl, latest, until); err != nil {
		return nil, err
	}
	c.historyBefore = c.history
	if newest, ok := c.pastOf(opts.From).Last(); ok && opts.Images && opts.From != "" {
		if c.full, c.historyBefore, err = t.inLaterSchema(ctx, c.end, newest.Time, c.full, c.history); err != nil {
			return nil, err
		}
	}
	if c.wanted, err = project(c.full, ReadOptions{Columns: opts.Columns, Meta: opts.Meta}); err != nil {
		return nil, err
	}
	c.scan = withColumns(c.wanted, c.full, schema.MetaFields[0], keyColumn)
	return c, nil
}

// archivedAfter finds the archived writes that were completed after a time, and when:
// in tables of version 6 that are all of later times, which need no looking up.
func (t *Table) archivedAfter(ctx context.Context, props Properties, tl *timeline.Timeline, from string, any bool) (map[string]string, error) {
	out := map[string]string{}
	if props.layout() == timeline.Layout1 || !any && from >= tl.Start() {
		return out, nil
	}
	r := archiveReader{store: t.store, bare: true, yield: func(i ArchivedInstant) error {
		if c := i.CompletionTime(); i.Writes() && c > from {
			out[i.Time] = c
		}
		return nil
	}}
	if err := r.read(ctx, props); err != nil {
		return nil, fmt.Errorf("read the archived timeline: %w", err)
	}
	return out, nil
}

// readStates finds the slices that the changes may be in.
func (c *changeReader) readStates(ctx context.Context) error {
	if n := len(c.end.Completed()); c.opts.To != "" && (n == 0 || n < len(c.whole.Completed())) {
		if err := c.checkPast(ctx, c.end, c.opts.To); err != nil {
			return err
		}
	}
	own, err := c.ownFiles(ctx)
	if err != nil {
		return err
	}
	if c.opts.Images {
		if err := c.readBefore(ctx, own); err != nil {
			return err
		}
	} else if enough, err := c.readOwn(ctx, own); err != nil || enough {
		return err
	}
	c.after, err = c.state(ctx, c.end, own)
	return err
}

// readOwn finds the slices that the commits' own files make; enough is false where rows
// in them take values over from older files. As for Hudi's incremental queries, a row
// that came late and lost against an older one by its ordering value is among them.
func (c *changeReader) readOwn(ctx context.Context, own *ownFiles) (enough bool, err error) {
	if c.table.merge.fill != fillNothing {
		return false, nil
	}
	if c.after, err = c.state(ctx, c.whole.Between(c.opts.From, c.opts.To, c.late), own); err != nil {
		return false, err
	}
	c.after.keepLogs(own)
	for _, s := range c.after.slices {
		for _, f := range s.Logs {
			if partial, err := c.hasPartial(ctx, f); err != nil || partial {
				return false, err
			}
		}
	}
	return true, nil
}

// hasPartial tells whether a log file has blocks of partial updates, which have the
// changed columns only. Version 6 knows none.
func (c *changeReader) hasPartial(ctx context.Context, f *DataFile) (bool, error) {
	if c.whole.Layout() == timeline.Layout1 {
		return false, nil
	}
	file, err := c.table.openFile(ctx, f.Path())
	if err != nil {
		return false, err
	}
	defer closeFile(file)
	for blocks := logfile.NewReader(file, file.Size()); ; {
		b, err := blocks.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", f.Path(), err)
		}
		if b.Header[logfile.IsPartial] == "true" {
			return true, nil
		}
	}
}

// keepLogs leaves out the log files that no commit in range wrote, nor a base file of
// theirs is under.
func (s *tableState) keepLogs(own *ownFiles) {
	for _, slice := range s.slices {
		if own != nil && slice.Base == nil {
			slice.Logs = slices.DeleteFunc(slice.Logs, func(f *DataFile) bool { return !own.paths[f.Path()] })
		}
	}
}

// readBefore finds the slices of the state at From, which is empty where that is before
// the table's first commit.
func (c *changeReader) readBefore(ctx context.Context, own *ownFiles) error {
	before := c.pastOf(c.opts.From)
	existed, err := c.existed(ctx, before)
	if err != nil || !existed {
		return err
	}
	if err := c.checkPast(ctx, before, c.opts.From); err != nil {
		return err
	}
	c.before, err = c.state(ctx, before, own)
	c.before.history = c.historyBefore
	return err
}

// pastOf is the timeline as it was at a time of completion. Archived writes that are not
// in late completed before From, whatever their own times are.
func (c *changeReader) pastOf(at string) *timeline.Timeline { return c.whole.CompletedBy(at, c.late) }

// checkPast refuses a state of which files may be gone.
func (c *changeReader) checkPast(ctx context.Context, past *timeline.Timeline, at string) error {
	newest, ok := past.Last()
	if !ok && c.archived {
		return fmt.Errorf("the state of %s: %w: the commits of that time are archived", at, ErrCleaned)
	}
	if !ok {
		newest.Time = at
	}
	return c.table.checkCleaned(ctx, c.whole, newest.Time)
}

// existed tells whether the table had any commit at From.
func (c *changeReader) existed(ctx context.Context, before *timeline.Timeline) (bool, error) {
	if _, ok := before.Last(); ok || c.opts.From == "" {
		return ok, nil
	}
	found := false
	r := archiveReader{store: c.table.store, to: c.opts.From, bare: true, yield: func(i ArchivedInstant) error {
		if !i.Writes() || i.CompletionTime() > c.opts.From {
			return nil
		}
		found = true
		return errEnough
	}}
	if err := r.read(ctx, c.table.Properties()); err != nil && !errors.Is(err, errEnough) {
		return false, fmt.Errorf("read the archived timeline: %w", err)
	}
	return found, nil
}

// ownFiles are what the commits in range wrote, and the groups of these and of what they
// replaced.
type ownFiles struct {
	groups map[GroupID]bool
	paths  map[string]bool
}

// ownFiles finds them in the commits; nil where some of these are archived.
func (c *changeReader) ownFiles(ctx context.Context) (*ownFiles, error) {
	if len(c.late) > 0 || c.archived && c.opts.From < c.whole.Start() {
		return nil, nil
	}
	var mu sync.Mutex
	out := &ownFiles{groups: map[GroupID]bool{}, paths: map[string]bool{}}
	var read errgroup.Group
	read.SetLimit(commitReaders)
	for _, i := range c.end.Completed() {
		if i.CompletionTime() <= c.opts.From {
			continue
		}
		read.Go(func() error {
			m, err := c.table.readCommit(ctx, i)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out.add(m)
			return nil
		})
	}
	return out, read.Wait() //nolint:wrapcheck // from readCommit
}

func (o *ownFiles) add(m *timeline.CommitMetadata) {
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			if f, ok := parseDataFile(s.Path, 0); ok {
				o.groups[f.Group()], o.paths[f.Path()] = true, true
			}
		}
	}
	for partition, ids := range m.PartitionToReplaceFileIDs {
		for _, id := range ids {
			o.groups[GroupID{partition, id}] = true
		}
	}
}

// state finds the slices of a state in the groups that changed, and looks whether all of
// it are whole.
func (c *changeReader) state(ctx context.Context, tl *timeline.Timeline, own *ownFiles) (tableState, error) {
	t, scope := c.table, c.table.scope(ReadOptions{Partitions: c.opts.Partitions})
	scope.asOf = tl.Limit()
	t.mu.RLock()
	found := t.view.slices(tl, "", c.opts.Partitions)
	t.mu.RUnlock()
	w, err := t.checkFiles(ctx, tl, found, scope)
	if err != nil || own == nil {
		return tableState{tl, found, w, c.history}, err
	}
	found = slices.DeleteFunc(found, func(s *FileSlice) bool { return !own.groups[s.Group()] })
	return tableState{tl, found, w, c.history}, nil
}

// scans read slices of a state for these columns.
func (c *changeReader) scans(s tableState, partition string, columns *arrow.Schema) []*sliceScan {
	var out []*sliceScan
	for _, slice := range s.slices {
		if slice.Partition == partition {
			out = append(out, &sliceScan{
				table: c.table, slice: slice, timeline: s.timeline, full: c.full, schema: columns,
				batchRows: c.opts.BatchRows, wrote: s.written.files(slice.Group(), s.timeline), history: s.history,
			})
		}
	}
	return out
}

// partitions are those that either state has slices in, in order.
func (c *changeReader) partitions() []string {
	var out []string
	for _, s := range slices.Concat(c.before.slices, c.after.slices) {
		out = append(out, s.Partition)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *changeReader) run(ctx context.Context, yield func(arrow.RecordBatch) error) error {
	if !c.opts.Images {
		return c.inPartitions(ctx, yield, func(ctx context.Context, partition string, yield func(arrow.RecordBatch) error) error {
			return c.written(ctx, partition, func(batch arrow.RecordBatch) error {
				out := firstColumns(batch, c.wanted)
				defer out.Release()
				return yield(out)
			})
		})
	}
	if err := c.inPartitions(ctx, yield, c.deletes); err != nil {
		return err
	}
	return c.inPartitions(ctx, yield, c.upserts)
}

// inPartitions yields what read yields of each partition.
func (c *changeReader) inPartitions(
	ctx context.Context, yield func(arrow.RecordBatch) error,
	read func(ctx context.Context, partition string, yield func(arrow.RecordBatch) error) error,
) error {
	for _, p := range c.partitions() {
		if err := read(ctx, p, yield); err != nil {
			return err
		}
	}
	return nil
}

// written calls yield with the rows of c.scan that commits in range wrote.
func (c *changeReader) written(ctx context.Context, partition string, yield func(arrow.RecordBatch) error) error {
	for _, s := range c.scans(c.after, partition, c.scan) {
		err := s.run(ctx, func(batch arrow.RecordBatch) error {
			sel, err := c.changed(batch)
			if err != nil || len(sel) == 0 {
				return err
			}
			rows, err := column.Take(batch, sel)
			if err != nil {
				return err
			}
			defer rows.Release()
			return yield(rows)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// changed are the rows of a batch that commits in range wrote.
func (c *changeReader) changed(batch arrow.RecordBatch) ([]int32, error) {
	at := batch.Schema().FieldIndices(schema.MetaFields[0])
	if len(at) == 0 {
		return nil, fmt.Errorf("column %s: missing", schema.MetaFields[0])
	}
	times, ok := batch.Column(at[0]).(*array.String)
	if !ok {
		return nil, fmt.Errorf("column %s: is %s, not text", schema.MetaFields[0], batch.Column(at[0]).DataType())
	}
	var sel []int32
	for row := range times.Len() {
		if c.isInRange(times.Value(row)) {
			sel = append(sel, int32(row))
		}
	}
	return sel, nil
}

// isInRange tells whether a row's commit completed after From. That it did up to To is
// sure, as the rows are those of that state.
func (c *changeReader) isInRange(time string) bool {
	in, known := c.inRange[time]
	if known {
		return in
	}
	completion, ok := c.whole.CompletionOf(time)
	switch {
	case ok:
	case c.whole.Layout() == timeline.Layout1:
		completion = time
	default:
		completion = c.late[time] // none: before From
	}
	in = completion > c.opts.From
	c.inRange[string([]byte(time))] = in // a copy: the batch's memory goes
	return in
}

// withColumns is a schema with more columns of the table behind its own.
func withColumns(s, full *arrow.Schema, names ...string) *arrow.Schema {
	fields := slices.Clone(s.Fields())
	for _, name := range names {
		if f, ok := full.FieldsByName(name); ok && len(s.FieldIndices(name)) == 0 {
			fields = append(fields, f...)
		}
	}
	return arrow.NewSchema(fields, nil)
}

// firstColumns is a batch without the columns behind those of a schema.
func firstColumns(batch arrow.RecordBatch, s *arrow.Schema) arrow.RecordBatch {
	return array.NewRecordBatch(s, batch.Columns()[:s.NumFields()], batch.NumRows())
}
