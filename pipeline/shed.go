package pipeline

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A partition that was detached or dropped took its rows along. They are those of the lake's
// table that meet the partition's condition, and which rows meet it the source says. One that
// was written since the partition was last seen may have come to another partition after
// it: where there is such a row the table is copied. While a job takes the rows away, the
// table stands aside.

// shed is what is to be taken away of partitions that are gone.
type shed struct {
	gone    []change.Leaf
	version *change.Table // the table without them
	look    *change.Look
	waits   bool          // where there are such rows the table waits for a person
	wait    time.Duration // before the last try
	next    time.Time     // when it is tried
}

// leavesGone decides on partitions that are gone: their rows are taken away, or, where it
// cannot be told which these are, the table is copied.
func (p *Pipeline) leavesGone(ctx context.Context, t *target, v *change.Table, look *change.Look, gone []change.Leaf) error {
	for _, l := range gone {
		if _, ok := t.leaves.bounds[l.ID]; !ok {
			return p.refuseLeaves(ctx, t, v, look.At, []SchemaChange{detached(v, l, "which rows these were is not known")})
		}
	}
	t.shed = &shed{gone: gone, version: v, look: look, waits: t.policy() == PauseSchema && !t.accepts(v, 0), next: time.Unix(1, 0)}
	t.stand()
	return nil
}

func (p *Pipeline) startShed(ctx context.Context, j *jobs, t *target) {
	t.job = true
	j.drains++
	t.stand()
	j.group.Go(func() error {
		err := p.shedRows(ctx, t)
		select {
		case j.done <- result{t: t, shed: true, err: err}:
		case <-ctx.Done():
		}
		return nil
	})
}

// finishShed takes in how it went.
func (p *Pipeline) finishShed(t *target, err error) {
	_, ofSource := errors.AsType[*sourceError](err)
	switch {
	case err == nil:
		t.shed = nil
	case ofSource && p.retryable(err):
		t.shed.wait = p.after(t.shed.wait)
		t.shed.next = time.Now().Add(t.shed.wait)
	default:
		if _, passes := errors.AsType[*LakeError](err); !passes {
			t.shed = nil
		}
		p.fail(t, err)
	}
	t.stand()
}

// shedRows takes the rows away, and notes that the table accounts for the partitions that are left.
func (p *Pipeline) shedRows(ctx context.Context, t *target) error {
	s := t.shed
	sorter := hudi.NewSorter(hudi.SortOptions{
		Schema: arrow.NewSchema(nil, nil), RecordKey: t.table.RecordKey(), Buckets: t.table.Buckets(), SortBytes: p.opts.MemoryBudget / 4, TempDir: p.spillDir,
	})
	defer sorter.Close()
	rows, err := int64(0), error(nil)
	for _, l := range s.gone {
		var n int64
		if n, err = p.collectRows(ctx, t, l, sorter); err != nil {
			return err
		}
		rows += n
	}
	if rows > 0 {
		p.phase("shed")
		if err := p.commitShed(ctx, t, sorter, s.look.At); err != nil {
			return ofLake(err)
		}
	}
	var list []SchemaChange
	for _, l := range s.gone {
		list = append(list, SchemaChange{Kind: PartitionDetached, Column: l.Name})
	}
	p.logLeaves(ctx, t, s.look.At, list, TakenOn)
	p.log.Info("rows went with partitions", "table", t.name, "partitions", len(s.gone), "rows", rows, "instant", newestInstant(t.table))
	return p.noteLeaves(ctx, t, s.version, s.look)
}

// collectRows finds the rows of a partition that is gone.
func (p *Pipeline) collectRows(ctx context.Context, t *target, l change.Leaf, out *hudi.Sorter) (rows int64, err error) {
	w := &within{p: p, t: t, leaf: l, bound: t.leaves.bounds[l.ID], known: map[string]bool{}}
	columns := []string{"_hoodie_record_key", "_hoodie_partition_path", colLSN}
	for _, name := range w.bound.Columns {
		k, ok := t.at.named(name)
		if !ok || k.Lake == "" {
			return 0, w.refuse(ctx, "column "+name+" has another name in the lake")
		}
		columns = append(columns, k.Lake)
	}
	for rec, err := range t.table.Read(ctx, hudi.ReadOptions{Columns: columns, Filter: ownRows(t.shard)}) {
		if err != nil {
			return 0, ofLake(err)
		}
		n, err := w.take(ctx, rec, out)
		if err != nil {
			return 0, err
		}
		rows += n
	}
	return rows, nil
}

// commitShed deletes rows. Before that the table showed all that the source held up to seen.
func (p *Pipeline) commitShed(ctx context.Context, t *target, rows *hudi.Sorter, seen change.LSN) error {
	release, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	txn, err := t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.Upsert})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = rows.Write(ctx, txn)
	next := t.at
	if next.LSN < seen {
		next.From, next.LSN, next.First = t.at.LSN, seen, seen
	}
	extra := map[string]string(nil)
	if err == nil {
		extra, err = t.extraOf(next)
	}
	if err == nil {
		_, err = txn.Commit(ctx, extra)
	}
	if err != nil {
		if _, err = published(ctx, txn, err); err != nil {
			return fmt.Errorf("take away the rows of partitions that are gone: %w", errors.Join(err, t.table.Refresh(context.WithoutCancel(ctx))))
		}
	}
	t.carried(extra)
	t.at = next
	p.commits.Add(1)
	t.report(func(s *TableStatus) { s.Instant = newestInstant(t.table) })
	return nil
}

// within asks which rows of a table belong to a partition.
type within struct {
	p     *Pipeline
	t     *target
	leaf  change.Leaf
	bound change.Bound
	known map[string]bool // what the source has said of values
}

// knownValues bounds the answers that are kept: partitions are by few values, or by many.
const knownValues = 1 << 16

// take hands on those rows of a batch that belong to the partition.
func (w *within) take(ctx context.Context, rec arrow.RecordBatch, out *hudi.Sorter) (rows int64, err error) {
	texts, err := w.ask(ctx, rec)
	if err != nil {
		return 0, err
	}
	keys, folders, lsns := rec.Column(0).(*array.String), rec.Column(1).(*array.String), rec.Column(2).(*array.Int64)
	gone := map[string][]string{}
	for row, text := range texts {
		if !w.known[text] {
			continue
		}
		if change.LSN(lsns.Value(row)) >= w.t.leaves.before {
			return 0, w.refuse(ctx, "rows like its own were written since, which may be in another partition")
		}
		if w.t.shed.waits {
			return 0, w.refuse(ctx, "its rows are in the lake")
		}
		folder := strings.Clone(folders.Value(row))
		gone[folder] = append(gone[folder], strings.Clone(keys.Value(row)))
		rows++
	}
	for _, folder := range slices.Sorted(maps.Keys(gone)) {
		if err := out.Delete(ctx, folder, gone[folder]); err != nil {
			return 0, fmt.Errorf("sort keys: %w", err)
		}
	}
	return rows, nil
}

// ask finds out what is not known of the values in a batch, and returns these as text, row by row.
func (w *within) ask(ctx context.Context, rec arrow.RecordBatch) (texts []string, err error) {
	if len(w.known) > knownValues {
		clear(w.known)
	}
	texts = make([]string, rec.NumRows())
	var unknown [][]string
	var names []string
	seen := map[string]bool{}
	for row := range texts {
		values := make([]string, len(w.bound.Columns))
		for i := range values {
			values[i] = sourceText(rec.Column(3+i), row)
		}
		text := strings.Join(values, "\x00")
		texts[row] = text
		if _, known := w.known[text]; !known && !seen[text] {
			seen[text] = true
			unknown, names = append(unknown, values), append(names, text)
		}
	}
	if len(unknown) == 0 {
		return texts, nil
	}
	in, err := w.p.opts.Source.Within(ctx, w.t.shed.version, w.bound, unknown)
	if err != nil && ctx.Err() == nil && !w.p.retryable(err) {
		return nil, w.refuse(ctx, "the source cannot say which rows these were ("+err.Error()+")")
	}
	if err != nil {
		return nil, &sourceError{err}
	}
	for i, name := range names {
		w.known[name] = in[i]
	}
	return texts, nil
}

// refuse is the error of a table whose rows cannot be taken away in place.
func (w *within) refuse(ctx context.Context, why string) error {
	v := w.t.shed.version
	return w.p.refuseLeaves(ctx, w.t, v, w.t.shed.look.At, []SchemaChange{detached(v, w.leaf, why)})
}

// sourceText is a value of a key in the lake as the source reads it.
func sourceText(a arrow.Array, row int) string {
	switch a := a.(type) {
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(row))).UTC().Format("2006-01-02 15:04:05.999999+00")
	case *array.Date32:
		return a.Value(row).ToTime().Format(time.DateOnly)
	case *array.Binary:
		return `\x` + hex.EncodeToString(a.Value(row))
	case *array.FixedSizeBinary:
		return `\x` + hex.EncodeToString(a.Value(row))
	default:
		return a.ValueStr(row)
	}
}
