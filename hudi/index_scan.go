package hudi

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/basefile"
)

// scanIndex finds keys by reading the key columns of base files. Keys that stand in log
// files only are not found, as Spark's indexes do not: no writer that uses them puts
// new keys there. Where a slice has no base file yet, its logs are read.
type scanIndex struct {
	all   bool // of all partitions
	bloom bool // files are left out whose footers say that they do not have the keys
}

func (s *scanIndex) global() bool { return s.all }

func (s *scanIndex) home(*Txn, place) (target, bool) { return target{}, false }

// wantedKeys are keys that are looked for, by hash: the places that want them.
type wantedKeys map[basefile.KeyHash]*wantedKey

type wantedKey struct {
	key    string
	places []int
}

// keys are the keys themselves, in no order.
func (w wantedKeys) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, k := range w {
			if !yield(k.key) {
				return
			}
		}
	}
}

// wanted are the keys that are looked for in each partition; in a global index those of
// the empty path are looked for in all.
func (s *scanIndex) wanted(places []place) map[string]wantedKeys {
	out := map[string]wantedKeys{}
	for i, p := range places {
		if s.all {
			p.partition = ""
		}
		keys := out[p.partition]
		if keys == nil {
			keys = wantedKeys{}
			out[p.partition] = keys
		}
		h := basefile.HashKey(p.key)
		if keys[h] == nil {
			keys[h] = &wantedKey{key: p.key}
		}
		keys[h].places = append(keys[h].places, i)
	}
	return out
}

func (s *scanIndex) find(ctx context.Context, x *Txn, places []place) ([][]target, error) {
	wanted := s.wanted(places)
	var partitions []string // nil: all
	if !s.all {
		partitions = []string{}
		for p := range wanted {
			partitions = append(partitions, p)
		}
	}
	slices := x.slices(partitions)
	w, err := x.table.checkFiles(ctx, x.timeline, slices, checkScope{partitions: partitions, baseOnly: true})
	if err != nil {
		return nil, err
	}
	out := make([][]target, len(places))
	var mu sync.Mutex
	scans, ctx := errgroup.WithContext(ctx)
	scans.SetLimit(runtime.GOMAXPROCS(0))
	for _, slice := range slices {
		keys := wanted[slice.Partition]
		if s.all {
			keys = wanted[""]
		}
		scans.Go(func() error {
			scan := &sliceScan{table: x.table, slice: slice, timeline: x.timeline, full: x.before, wrote: w.files(slice.Group(), x.timeline)}
			found, err := scan.locate(ctx, keys, s.bloom)
			if err != nil {
				return fmt.Errorf("look up keys in %s: %w", slice.Group(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, h := range found {
				for _, i := range keys[h].places {
					out[i] = append(out[i], target{GroupID: slice.Group()})
				}
			}
			return nil
		})
	}
	return out, scans.Wait()
}

// locate finds those of the wanted keys that the slice has.
func (s *sliceScan) locate(ctx context.Context, wanted wantedKeys, bloom bool) ([]basefile.KeyHash, error) {
	found := map[basefile.KeyHash]bool{}
	note := func(key string) {
		if h := basefile.HashKey(key); wanted[h] != nil {
			found[h] = true
		}
	}
	var err error
	if s.slice.Base == nil {
		err = s.logKeys(ctx, note)
	} else {
		err = s.baseKeys(ctx, wanted, bloom, note)
	}
	if err != nil {
		return nil, err
	}
	out := make([]basefile.KeyHash, 0, len(found))
	for h := range found {
		out = append(out, h)
	}
	return out, nil
}

var keySchema = arrow.NewSchema([]arrow.Field{{Name: keyColumn, Type: arrow.BinaryTypes.String, Nullable: true}}, nil)

func (s *sliceScan) logKeys(ctx context.Context, note func(string)) error {
	s.schema = keySchema
	return s.run(ctx, func(batch arrow.RecordBatch) error { return eachRecordKey(batch, note) })
}

func eachRecordKey(batch arrow.RecordBatch, note func(string)) error {
	keys, err := keysOf(batch)
	if err != nil {
		return err
	}
	for row := range keys.Len() {
		note(keys.Value(row))
	}
	return nil
}

// baseKeys reads the key column of the base file, if its footer says that it may have
// one of the wanted keys.
func (s *sliceScan) baseKeys(ctx context.Context, wanted wantedKeys, bloom bool, note func(string)) error {
	file, err := s.open(ctx, s.slice.Base)
	if err != nil {
		return err
	}
	defer closeFile(file)
	r, err := basefile.Open(file, file.Size(), keySchema)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if bloom && !r.MayHave(wanted.keys()) {
		return nil
	}
	return r.Each(ctx, func(batch arrow.RecordBatch) error { return eachRecordKey(batch, note) })
}
