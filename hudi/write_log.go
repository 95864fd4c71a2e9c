package hudi

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
)

// deletesPerBlock bounds the keys of a delete block.
const deletesPerBlock = 50_000

// logOut appends a group's changes to a new log file on its slice, block by block.
type logOut struct {
	group   *GroupWriter
	file    *DataFile // nil: nothing was written
	dst     *newFile
	w       *logfile.Writer
	enc     *logfile.Encoder
	content []byte
	records int
	deletes []logfile.DeleteKey

	upserted, deleted, blocks int64
}

func (o *logOut) fileName() string { return o.group.id.FileID }

// upsert encodes rows and writes each block that is full.
func (o *logOut) upsert(ctx context.Context, rows arrow.RecordBatch, _ *array.String) (err error) {
	if err := o.open(ctx); err != nil {
		return err
	}
	for row := range int(rows.NumRows()) {
		if o.content, err = o.enc.Append(o.content, rows, row); err != nil {
			return err
		}
		o.records++
		if len(o.content) >= o.group.txn.table.opts.BlockBytes {
			if err := o.flushRecords(); err != nil {
				return err
			}
		}
	}
	return nil
}

// delete gathers keys and writes each block that is full.
func (o *logOut) delete(ctx context.Context, keys []string) error {
	if err := o.open(ctx); err != nil {
		return err
	}
	for _, k := range keys {
		o.deletes = append(o.deletes, logfile.DeleteKey{Key: k, Partition: o.group.id.Partition})
		if len(o.deletes) >= deletesPerBlock {
			if err := o.flushDeletes(); err != nil {
				return err
			}
		}
	}
	return nil
}

// open creates the marker and the log file.
func (o *logOut) open(ctx context.Context) (err error) {
	if o.file != nil {
		return nil
	}
	x, s := o.group.txn, o.group.slice
	if o.enc, err = x.newEncoder(); err != nil {
		return err
	}
	token, version := o.group.token, s.nextVersion()
	file := &DataFile{
		Partition: s.Partition, Name: logfile.FileName(s.FileID, s.Instant, version, token),
		FileID: s.FileID, Token: token, Instant: s.Instant, Version: version,
	}
	if o.dst, err = x.table.createData(ctx, x.time, file, markerAppend); err != nil {
		return err
	}
	o.file, o.w = file, logfile.NewWriter(o.dst)
	return nil
}

// newEncoder makes the encoder of a log file; the schema is parsed for the first one.
func (x *Txn) newEncoder() (*logfile.Encoder, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.encoder == nil {
		var err error
		if x.encoder, err = logfile.NewEncoder(x.fullAvro, x.full); err != nil {
			return nil, fmt.Errorf("encode log records: %w", err)
		}
	}
	return x.encoder.Another(), nil
}

// flushRecords writes the deletes that wait first: a row of one of their keys came behind it.
func (o *logOut) flushRecords() error {
	if o.records == 0 {
		return nil
	}
	if err := o.flushDeletes(); err != nil {
		return err
	}
	x := o.group.txn
	x.table.opts.Hook("log append")
	if err := o.w.Data(logfile.Header{Instant: x.time, Schema: x.fullAvro}, o.content, o.records); err != nil {
		return err
	}
	o.blocks++
	o.upserted += int64(o.records)
	o.content, o.records = o.content[:0], 0
	return nil
}

func (o *logOut) flushDeletes() error {
	if len(o.deletes) == 0 {
		return nil
	}
	x := o.group.txn
	x.table.opts.Hook("log append")
	if err := o.w.Delete(logfile.Header{Instant: x.time, Schema: x.fullAvro}, o.deletes); err != nil {
		return err
	}
	o.blocks++
	o.deleted += int64(len(o.deletes))
	clear(o.deletes)
	o.deletes = o.deletes[:0]
	return nil
}

func (o *logOut) close(ctx context.Context) error {
	if o.file == nil {
		return nil
	}
	if err := o.flushRecords(); err != nil {
		return err
	}
	if err := o.flushDeletes(); err != nil {
		return err
	}
	if err := o.dst.commit(); err != nil {
		return err
	}
	o.file.Size = o.w.Written()
	g := o.group
	g.file, g.stat = o.file, o.stat()
	return nil
}

// stat describes the log file in the commit. What an upsert met is not known without
// reading the group: as Hudi does with the bucket index, each counts as an update.
func (o *logOut) stat() timeline.WriteStat {
	s := o.group.slice
	logs := make([]string, 0, len(s.Logs)+1)
	for _, l := range s.Logs {
		logs = append(logs, l.Name)
	}
	stat := newStat(o.file, s.Instant)
	stat.NumWrites = o.upserted
	stat.NumUpdateWrites = o.upserted
	stat.NumDeletes = o.deleted
	stat.TotalLogBlocks = o.blocks
	stat.TotalLogRecords = o.upserted + o.deleted
	stat.TotalLogFiles = 1
	stat.LogVersion = int32(o.file.Version)
	stat.LogFiles = append(logs, o.file.Name)
	if s.Base != nil {
		stat.BaseFile = s.Base.Name
	}
	return stat
}

func (o *logOut) abandon() {
	if o.dst != nil {
		o.dst.abort()
	}
}
