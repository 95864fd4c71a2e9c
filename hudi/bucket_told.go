package hudi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"
)

// checkTold proves a number of hash buckets that the options say and no commit does: the
// first rows of each file group must be where that number puts them. Else a writer would
// look for keys in the wrong groups, and make second rows of them.
func (t *Table) checkTold(ctx context.Context) error {
	if !t.told || !t.hashed() {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, s := range t.view.slices(t.timeline, "", nil) {
		bucket, err := t.bucketOf(s.FileID)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() error { return t.checkBucket(ctx, s, bucket) })
	}
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // from checkBucket
	}
	t.told = false
	return nil
}

// checkBucket looks at the first rows of a file group.
func (t *Table) checkBucket(ctx context.Context, s *FileSlice, bucket int) error {
	if s.Base != nil {
		s = &FileSlice{Partition: s.Partition, FileID: s.FileID, Instant: s.Instant, Base: s.Base}
	}
	enough := errors.New("enough")
	scan := &sliceScan{table: t, slice: s, timeline: t.timeline, full: t.full, schema: keySchema, batchRows: 1000}
	err := scan.run(ctx, func(batch arrow.RecordBatch) error {
		keys, err := keysOf(batch)
		if err != nil {
			return err
		}
		for row := range keys.Len() {
			if b := BucketOf(keys.Value(row), t.key, t.buckets); b != bucket {
				file := s.Logs
				if s.Base != nil {
					file = []*DataFile{s.Base}
				}
				return badOption("%d buckets: %s has the row of key %q, which belongs to bucket %d of so many, and is the file of bucket %d: the table has another number of buckets, or makes them of other columns than %s",
					t.buckets, file[0].Path(), keys.Value(row), b, bucket, strings.Join(t.key, ", "))
			}
		}
		return enough
	})
	if err != nil && !errors.Is(err, enough) {
		return fmt.Errorf("check the number of buckets: %w", err)
	}
	return nil
}
