package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/storage"
)

// groupsWith finds the row groups of a base file that hold one of the wanted keys, by
// a pass over the key column alone.
func groupsWith(ctx context.Context, base storage.Reader, only map[keyHash]int32) ([]int, error) {
	schema := arrow.NewSchema([]arrow.Field{{Name: keyColumn, Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	r, err := openBaseReader(base, base.Size(), schema)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.close() }()
	var found []int
	group, end := -1, int64(0) // the row group that row is in, and where it ends
	for row := int64(0); ctx.Err() == nil; {
		batch, err := r.next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		keys, err := keysOf(batch)
		if err != nil {
			return nil, err
		}
		for i := range keys.Len() {
			for ; row == end; end += r.parquet.MetaData().RowGroup(group).NumRows() {
				group++
			}
			if _, wanted := only[hashKey(keys.Value(i))]; wanted && (len(found) == 0 || found[len(found)-1] != group) {
				found = append(found, group)
			}
			row++
		}
		batch.Release()
	}
	return nil, ctx.Err()
}

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
