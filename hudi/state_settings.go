package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// settings are what the newest commits that have them say of the table.
type settings struct {
	avro, latest string // schema and internal schema
	buckets      string
}

// readSettings finds schema, internal schema and bucket count. It looks past the newest
// commit only where that is another writer's, which says nothing of buckets, on a table
// that may have some: else each opening would read all commits.
func (t *Table) readSettings(ctx context.Context, tl *timeline.Timeline, props Properties, v *view) (avro, latest string, buckets int, err error) {
	var s settings
	index := props[propIndex]
	bucketed := strings.EqualFold(index, string(IndexBucket)) || index == "" && v.mayHaveBuckets()
	var damaged error
	err = t.eachCommit(ctx, newestFirst(tl.Completed()), func(i timeline.Instant, m *timeline.CommitMetadata) (more bool) {
		if s.avro == "" {
			s.avro, s.latest = m.ExtraMetadata[timeline.SchemaKey], m.ExtraMetadata[schema.LatestKey]
			if _, err := schema.Record(s.avro); s.avro != "" && err != nil {
				damaged = &CorruptError{t.instantFile(i), err}
				return false
			}
		}
		s.buckets = cmp.Or(s.buckets, m.ExtraMetadata[BucketsKey])
		return s.avro == "" || bucketed && s.buckets == ""
	})
	if err = cmp.Or(err, damaged); err != nil {
		return "", "", 0, err
	}
	if avro = cmp.Or(s.avro, props[propCreateSchema]); avro == "" {
		return "", "", 0, errors.New("neither a commit nor hoodie.properties has a schema")
	}
	buckets, err = t.bucketsOf(s.buckets)
	return avro, s.latest, buckets, err
}

func newestFirst(all []timeline.Instant) []timeline.Instant {
	slices.Reverse(all)
	return all
}

// bucketsOf is the number of buckets where commits say count, "" being nothing.
func (t *Table) bucketsOf(count string) (int, error) {
	asked := t.opts.Buckets
	t.told = count == "" && asked != 0
	if count == "" {
		return asked, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxBuckets {
		return 0, fmt.Errorf("%s is %q in the commits", BucketsKey, count)
	}
	if asked != 0 && asked != n && t.timeline == nil { // not one that was converted since
		return 0, fmt.Errorf("the table has %d buckets, not %d: lakefeed table convert changes their number", n, asked)
	}
	return n, nil
}

// mayHaveBuckets tells whether all file groups have ids as those of buckets have.
func (v *view) mayHaveBuckets() bool {
	for _, p := range v.partitions {
		for id := range p {
			if _, err := bucketOfFileID(id); err != nil {
				return false
			}
		}
	}
	return true
}

// eachCommit reads commits and calls use with them, in order, until it wants no more. The
// first one is read alone, as it is often enough, the rest several at a time.
func (t *Table) eachCommit(ctx context.Context, of []timeline.Instant, use func(timeline.Instant, *timeline.CommitMetadata) (more bool)) error {
	for n := 1; len(of) > 0; n = commitReaders {
		some := of[:min(n, len(of))]
		of = of[len(some):]
		found := make([]*timeline.CommitMetadata, len(some))
		read, ctx := errgroup.WithContext(ctx)
		for n, i := range some {
			read.Go(func() (err error) {
				found[n], err = t.readCommit(ctx, i)
				return err
			})
		}
		if err := read.Wait(); err != nil {
			return err //nolint:wrapcheck // from readCommit
		}
		for n, i := range some {
			if !use(i, found[n]) {
				return nil
			}
		}
	}
	return nil
}
