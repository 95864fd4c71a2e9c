package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/spf13/cobra"
)

// rowWriter prints batches in one format.
type rowWriter interface {
	write(arrow.RecordBatch) error
	close() error
}

var formats = []string{"jsonl", "csv", "parquet", "arrow"}

// newRowWriter makes the writer of a format; schema is that of the batches to come.
func newRowWriter(format string, w io.Writer, schema *arrow.Schema) (rowWriter, error) {
	switch format {
	case "table":
		return newTableWriter(w, schema), nil
	case "jsonl":
		return &jsonlWriter{w: w}, nil
	case "csv":
		return newCSVWriter(w, schema)
	case "parquet":
		props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy))
		fw, err := pqarrow.NewFileWriter(schema, w, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
		if err != nil {
			return nil, fmt.Errorf("write parquet: %w", err)
		}
		return parquetWriter{fw}, nil
	case "arrow":
		return arrowWriter{ipc.NewWriter(w, ipc.WithSchema(schema))}, nil
	}
	return nil, usage("unknown format %q: one of %s", format, strings.Join(formats, ", "))
}

// everyRow is the limit that is none.
const everyRow = -1

// limitFlag is --limit, of which [checkLimit] reads what was given.
func limitFlag(c *cobra.Command, to *int64, what string) {
	c.Flags().Int64Var(to, "limit", everyRow, what)
	c.Flags().Lookup("limit").DefValue = "0" // of which help says nothing
}

// checkLimit refuses a number below nothing.
func checkLimit(cmd *cobra.Command, limit int64) error {
	if limit < 0 && cmd.Flags().Changed("limit") {
		return usage("--limit %d: less than nothing", limit)
	}
	return nil
}

// writeRows prints batches up to a number of rows, or everyRow.
func writeRows(w rowWriter, rows iter.Seq2[arrow.RecordBatch, error], limit int64) error {
	if limit == 0 {
		return w.close()
	}
	for rec, err := range rows {
		if err != nil {
			return errors.Join(err, w.close())
		}
		if limit > 0 && rec.NumRows() >= limit {
			part := rec.NewSlice(0, limit)
			err = w.write(part)
			part.Release()
			return errors.Join(err, w.close())
		}
		if limit > 0 {
			limit -= rec.NumRows()
		}
		if err := w.write(rec); err != nil {
			return errors.Join(err, w.close())
		}
	}
	return w.close()
}

type jsonlWriter struct {
	w   io.Writer
	buf []byte
}

func (w *jsonlWriter) write(rec arrow.RecordBatch) error {
	w.buf = w.buf[:0]
	for i := range int(rec.NumRows()) {
		w.buf = append(appendRow(w.buf, rec, i), '\n')
	}
	_, err := w.w.Write(w.buf)
	return err
}

func (w *jsonlWriter) close() error { return nil }

// csvWriter prints RFC 4180 with a header, as PostgreSQL's COPY does: nothing for
// null and "" for empty text. Nested values are JSON.
type csvWriter struct {
	w *bufio.Writer
}

func newCSVWriter(w io.Writer, schema *arrow.Schema) (*csvWriter, error) {
	c := &csvWriter{w: bufio.NewWriter(w)}
	for i, f := range schema.Fields() {
		c.cell(i, f.Name)
	}
	return c, c.w.WriteByte('\n')
}

func (c *csvWriter) write(rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		for n, col := range rec.Columns() {
			switch {
			case col.IsNull(i) && n > 0:
				_ = c.w.WriteByte(',') // a bufio.Writer keeps its error for the last call
			case col.IsNull(i):
			case arrow.IsNested(col.DataType().ID()):
				c.cell(n, string(appendValue(nil, col, i)))
			default:
				text, _ := valueText(col, i)
				c.cell(n, text)
			}
		}
		if err := c.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvWriter) cell(n int, s string) {
	if n > 0 {
		_ = c.w.WriteByte(',') // as above
	}
	if s == "" || strings.ContainsAny(s, ",\"\r\n") {
		s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	_, _ = c.w.WriteString(s) // as above
}

func (c *csvWriter) close() error { return c.w.Flush() }

type parquetWriter struct{ w *pqarrow.FileWriter }

func (p parquetWriter) write(rec arrow.RecordBatch) error { return p.w.WriteBuffered(rec) }
func (p parquetWriter) close() error                      { return p.w.Close() }

type arrowWriter struct{ w *ipc.Writer }

func (a arrowWriter) write(rec arrow.RecordBatch) error { return a.w.Write(rec) }
func (a arrowWriter) close() error                      { return a.w.Close() }
