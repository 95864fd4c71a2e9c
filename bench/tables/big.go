package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
)

// bigRows of about 1 KB each are a merge-on-read table of 10 GB. Its bulk insert sorts on
// disk, and its compaction writes it anew: either takes 20 GB of disk.
const (
	bigRows    = 10_000_000
	bigBuckets = 80
	bigMiB     = 1024
	bigChanges = 10
)

// bigOrders is orders with 900 bytes of text that does not compress.
var bigOrders = arrow.NewSchema(append(orders.Fields(), arrow.Field{Name: "payload", Type: arrow.BinaryTypes.String, Nullable: true}), nil)

// big measures the life of a large table: it is filled, each bucket is changed, it is
// read, compacted and read again. The memory that is resident is bounded, not the time.
func (b *bench) big(ctx context.Context) error {
	t, err := b.create(ctx, "big", hudi.MergeOnRead, bigOrders)
	if err != nil {
		return err
	}
	if err := b.measureTo("bulk insert", 0, func() error { return b.fillBig(ctx, t) }); err != nil {
		return err
	}
	for i := range bigChanges {
		rows := withPayload(b.changes(uint64(i)))
		err := b.measureTo("upsert of 10,000 random keys", 0, func() error {
			_, err := t.Upsert(ctx, rows)
			return err
		})
		if err != nil {
			return err
		}
	}
	size, err := b.size("big")
	if err != nil {
		return err
	}
	fmt.Printf("the table has %.1f GB in %d file groups\n", float64(size)/1e9, len(t.Slices()))
	if err := b.read(ctx, "big", "read of all rows, base and logs"); err != nil {
		return err
	}
	err = b.measureTo("compaction", 0, func() error {
		at, err := t.Compact(ctx, hudi.CompactOptions{})
		if err == nil && at == "" {
			err = errors.New("there was nothing to compact")
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.read(ctx, "big", "read of all rows, compacted")
}

// fillBig inserts rows in an order in which every bucket comes all the time.
func (b *bench) fillBig(ctx context.Context, t *hudi.Table) error {
	from := int64(1)
	return insert(ctx, t, func() (arrow.RecordBatch, error) {
		if from > b.rows {
			return nil, nil //nolint:nilnil // the end
		}
		rows := makeRows(from, min(batchRows/4, b.rows+1-from), 0)
		from += rows.NumRows()
		return withPayload(rows), nil
	}, hudi.BulkOptions{TempDir: b.dir})
}

// withPayload puts the text behind rows.
func withPayload(rows arrow.RecordBatch) arrow.RecordBatch {
	ids := rows.Column(0).(*array.Int64)
	text := array.NewStringBuilder(memory.DefaultAllocator)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	buf := make([]byte, 900)
	for row := range ids.Len() {
		rnd := rand.NewPCG(uint64(ids.Value(row)), 3)
		for i := 0; i < len(buf); i += 10 {
			for v, n := rnd.Uint64(), i; n < i+10; n, v = n+1, v>>6 {
				buf[n] = letters[v&63]
			}
		}
		text.BinaryBuilder.Append(buf)
	}
	return array.NewRecordBatch(bigOrders, append(rows.Columns(), text.NewArray()), rows.NumRows())
}

// size is how many bytes a table's folder has.
func (b *bench) size(name string) (size int64, err error) {
	err = filepath.WalkDir(filepath.Join(b.dir, name), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
