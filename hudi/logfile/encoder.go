package logfile

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// Encoder turns rows of record batches into the Avro records of data blocks. It is
// for one goroutine.
type Encoder struct {
	fields []avro.SchemaField
	schema *arrow.Schema

	batch   arrow.RecordBatch // that columns stand for
	columns []appendFunc
	err     error // what a column found wrong in a row
}

// appendFunc appends the Avro value of one row of a column.
type appendFunc func(dst []byte, row int) []byte

// NewEncoder returns an encoder for records of the Avro schema, meta columns
// included, from batches of the Arrow schema, which has the same columns in the
// same order.
func NewEncoder(avroSchema string, arrowSchema *arrow.Schema) (*Encoder, error) {
	fields, err := schema.Record(avroSchema)
	if err != nil {
		return nil, err
	}
	if len(fields) != arrowSchema.NumFields() {
		return nil, fmt.Errorf("match schemas: %d columns in Avro, %d in Arrow", len(fields), arrowSchema.NumFields())
	}
	for i, f := range arrowSchema.Fields() {
		if f.Name != fields[i].Name {
			return nil, fmt.Errorf("match schemas: column %d is %s in Avro, %s in Arrow", i, fields[i].Name, f.Name)
		}
		if err := checkColumn(&fields[i].Type, f); err != nil {
			return nil, fmt.Errorf("match schemas: column %s: %w", f.Name, err)
		}
	}
	return &Encoder{fields: fields, schema: arrowSchema}, nil
}

// Another is an encoder for the same records, for another goroutine.
func (e *Encoder) Another() *Encoder { return &Encoder{fields: e.fields, schema: e.schema} }

// Append appends one row of batch to the content of a data block. It allocates
// nothing but the growth of dst. A null in a column that may not be null and a
// decimal too large for its type are errors.
//
// The encoder keeps the last batch; one goroutine should encode batch by batch.
func (e *Encoder) Append(dst []byte, batch arrow.RecordBatch, row int) ([]byte, error) {
	if batch != e.batch {
		if err := e.bind(batch); err != nil {
			return dst, err
		}
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, column := range e.columns {
		dst = column(dst, row)
	}
	if e.err != nil {
		err := fmt.Errorf("encode row %d: %w", row, e.err)
		e.err = nil
		return dst[:start], err
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst, nil
}

func (e *Encoder) bind(batch arrow.RecordBatch) error {
	e.batch, e.columns = nil, e.columns[:0]
	if int(batch.NumCols()) != len(e.fields) {
		return fmt.Errorf("encode batch: %d columns, want %d", batch.NumCols(), len(e.fields))
	}
	for i := range e.fields {
		f := &e.fields[i]
		col := batch.Column(i)
		if !arrow.TypeEqual(col.DataType(), e.schema.Field(i).Type) {
			return fmt.Errorf("encode column %s: a %s, want %s", f.Name, col.DataType(), e.schema.Field(i).Type)
		}
		column, err := e.column(f.Name, &f.Type, col)
		if err != nil {
			return fmt.Errorf("encode column %s: %w", f.Name, err)
		}
		e.columns = append(e.columns, column)
	}
	e.batch = batch
	return nil
}
