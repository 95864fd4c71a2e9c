package hudi

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// mark says what a copy-on-write transaction does with a key, and whether the old
// base file had it.
type mark uint8

const (
	markUpsert mark = 1 << iota
	markDelete
	markFound
)

// baseOut writes a group's rows to a new base file. Where the group has a base file,
// the new one is that with the transaction's changes ([basefile.Rewrite]).
//
// A slice with log files, which a copy-on-write table may have got from another writer, is
// merged: first come the transaction's rows, behind them those of the slice that it
// did not touch.
type baseOut struct {
	group   *GroupWriter
	changed map[basefile.KeyHash]mark // nil for a new file group
	file    *DataFile                 // nil: nothing was written
	dst     *newFile
	w       *basefile.Writer
	rewrite *basefile.Rewrite // nil: there is no base file, or it is merged
}

// fileName is known before the file is created.
func (o *baseOut) fileName() string {
	g := o.group
	return baseName(g.id.FileID, g.token, g.txn.time)
}

func (o *baseOut) upsert(ctx context.Context, rows arrow.RecordBatch, keys *array.String) error {
	if err := o.open(ctx); err != nil {
		return err
	}
	if o.rewrite != nil {
		return o.rewrite.Upsert(rows)
	}
	if o.changed != nil {
		for row := range keys.Len() {
			o.changed[basefile.HashKey(keys.Value(row))] = markUpsert
		}
	}
	return o.w.Write(rows)
}

func (o *baseOut) delete(ctx context.Context, keys []string) error {
	if err := o.open(ctx); err != nil {
		return err
	}
	if o.rewrite != nil {
		o.rewrite.Delete(keys)
		return nil
	}
	for _, k := range keys {
		o.changed[basefile.HashKey(k)] = markDelete
	}
	return nil
}

// open creates the marker and the base file.
func (o *baseOut) open(ctx context.Context) (err error) {
	if o.file != nil {
		return nil
	}
	g := o.group
	x := g.txn
	file := &DataFile{Partition: g.id.Partition, Name: o.fileName(), FileID: g.id.FileID, Token: g.token, Instant: x.time}
	kind := markerCreate
	if g.slice != nil {
		kind = markerMerge
	}
	if o.dst, err = x.table.createData(ctx, x.time, file, kind); err != nil {
		return err
	}
	if o.w, err = x.table.newBaseWriter(o.dst, x.avro, x.full); err != nil {
		return err
	}
	if s := g.slice; s != nil && s.Base != nil && len(s.Logs) == 0 {
		o.rewrite = basefile.NewRewrite(o.w, file.Name)
	}
	o.file = file
	return nil
}

func (o *baseOut) close(ctx context.Context) error {
	g := o.group
	if o.file == nil {
		return nil
	}
	stats, copied, err := o.finish(ctx)
	if err != nil {
		return fmt.Errorf("write %s: %w", o.file.Path(), err)
	}
	if err := o.dst.commit(); err != nil {
		return err
	}
	o.file.Size = stats.Bytes
	g.file, g.stat = o.file, o.stat(stats.Rows, stats.Rows-copied)
	return nil
}

// finish writes the rows of the slice that the transaction did not touch, and counts
// them.
func (o *baseOut) finish(ctx context.Context) (stats basefile.Stats, copied int64, err error) {
	g := o.group
	if g.slice == nil {
		stats, err = o.w.Close()
		return stats, 0, err
	}
	x, t := g.txn, g.txn.table
	w, err := t.checkFiles(ctx, x.timeline, []*FileSlice{g.slice}, checkScope{planned: true})
	if err != nil {
		return stats, 0, err
	}
	scan := &sliceScan{
		table: t, slice: g.slice, timeline: x.timeline, full: x.full, schema: x.full,
		skip: o.changed, wrote: w.files(g.id, x.timeline),
	}
	if o.rewrite != nil {
		stats, err = scan.rewrite(ctx, o.rewrite)
		return stats, o.rewrite.Unchanged(), err
	}
	err = scan.run(ctx, func(rows arrow.RecordBatch) error { return o.w.WriteMoved(rows, o.file.Name) })
	if err != nil {
		return stats, 0, err
	}
	stats, err = o.w.Close()
	return stats, scan.stats.rows, err
}

// rewrite ends a rewrite of the slice's base file.
func (s *sliceScan) rewrite(ctx context.Context, r *basefile.Rewrite) (stats basefile.Stats, err error) {
	old, err := s.open(ctx, s.slice.Base)
	if err != nil {
		return stats, err
	}
	defer closeFile(old)
	if stats, err = r.Finish(ctx, old, old.Size()); err != nil {
		return stats, fmt.Errorf("copy %s: %w", s.slice.Base.Path(), err)
	}
	return stats, nil
}

// newBaseWriter begins a base file of a schema with the meta columns; avro is that of
// the data columns.
func (t *Table) newBaseWriter(dst io.Writer, avro string, full *arrow.Schema) (*basefile.Writer, error) {
	f := t.baseFormat.Load()
	if f == nil || f.avro != avro || f.unfiltered != t.hashed() || !f.full.Equal(full) {
		fullAvro, err := schema.WithMeta(avro)
		if err != nil {
			return nil, err
		}
		f = &baseFormat{avro: avro, full: full, unfiltered: t.hashed()}
		f.format, err = basefile.NewFormat(basefile.WriterOptions{AvroSchema: fullAvro, Schema: full, RowGroupBytes: t.opts.RowGroupBytes, Unfiltered: f.unfiltered})
		if err != nil {
			return nil, err
		}
		t.baseFormat.Store(f)
	}
	return f.format.NewWriter(dst)
}

// baseFormat is that of the last base file, which the next one has as a rule.
type baseFormat struct {
	avro       string
	full       *arrow.Schema
	unfiltered bool
	format     *basefile.Format
}

// stat describes the base file in the commit.
func (o *baseOut) stat(rows, upserted int64) timeline.WriteStat {
	prev := timeline.NoCommit
	if o.group.slice != nil {
		prev = o.group.slice.Instant
	}
	stat := newStat(o.file, prev)
	stat.NumWrites = rows
	if o.rewrite != nil {
		stat.NumUpdateWrites, stat.NumDeletes = o.rewrite.Found()
	}
	for _, m := range o.changed {
		switch m {
		case markUpsert | markFound:
			stat.NumUpdateWrites++
		case markDelete | markFound:
			stat.NumDeletes++
		default:
		}
	}
	stat.NumInserts = upserted - stat.NumUpdateWrites
	return stat
}

func (o *baseOut) abandon() {
	if o.dst != nil {
		o.dst.abort()
	}
}

// seqnos are the sequence numbers of n rows: instant, number of the writer and a count
// from first.
func seqnos(instant string, writer int, first int64, n int) arrow.Array {
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	b.Reserve(n)
	text := append([]byte(instant), '_')
	text = append(strconv.AppendInt(text, int64(writer), 10), '_')
	prefix := len(text)
	b.ReserveData(n * (prefix + len(strconv.FormatInt(first+int64(n), 10))))
	for i := range int64(n) {
		text = strconv.AppendInt(text[:prefix], first+i, 10)
		b.BinaryBuilder.Append(text)
	}
	return b.NewArray()
}
