package hudi

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// restrict lets a reader that has not begun read these row groups only.
func (b *baseReader) restrict(groups []int) (err error) {
	defer recoverParquet("open", &err)
	b.read = b.numRows()
	for _, g := range groups {
		b.read -= b.parquet.MetaData().RowGroup(g).NumRows()
	}
	if b.rows == nil {
		return nil
	}
	fr, err := pqarrow.NewFileReader(b.parquet, pqarrow.ArrowReadProperties{BatchSize: b.batch}, allocator)
	if err != nil {
		return fmt.Errorf("read base file: %w", err)
	}
	var leaves []int
	for i := range fr.Manifest.Fields {
		if f := &fr.Manifest.Fields[i]; b.schema.HasField(f.Field.Name) {
			leaves = appendLeaves(leaves, f)
		}
	}
	b.rows.Release()
	if b.rows, err = fr.GetRecordReader(context.Background(), leaves, groups); err != nil {
		return fmt.Errorf("read base file: %w", err)
	}
	return nil
}
