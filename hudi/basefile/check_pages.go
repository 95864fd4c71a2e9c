package basefile

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// CheckPages reads the bytes of every page of a Parquet file and compares them with the page's checksum, where it
// has one. It decodes none. Files whose bytes cannot be told from damage, encrypted ones, are left out.
func CheckPages(ctx context.Context, r io.ReaderAt, size int64) (err error) {
	defer recoverParquet("check", &err)
	f, err := openParquet(r, size)
	if errors.Is(err, errNoCopy) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open Parquet file: %w", err)
	}
	for g := range f.meta.RowGroups {
		for c := range f.leaves {
			if err := f.checkPages(ctx, g, c); err != nil {
				return fmt.Errorf("column %s of row group %d: %w", f.leaves[c].path, g, err)
			}
		}
	}
	return nil
}

func (f *File) checkPages(ctx context.Context, g, c int) error {
	m := &f.meta.RowGroups[g].Columns[c].Meta
	from, to := chunkRange(m)
	values := int64(0)
	err := f.walkPages(from, to, func(_ int64, _ []byte, pages []pageFrame) error {
		for i := range pages {
			if pages[i].isData() {
				values += int64(pages[i].rows)
			}
		}
		return ctx.Err()
	})
	if err == nil && values != m.NumValues {
		err = damagedParquet("pages of %d values, and the footer says %d", values, m.NumValues)
	}
	return err
}
