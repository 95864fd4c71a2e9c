package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi"
	"lakefeed/hudi/basefile"
)

// What runs have under a key that was changed since does not count. In a partitioned table that may be in any
// partition, so that the merge does not meet it: the keys are held in memory, and where there are more of them
// than there is room for, what runs have under those is looked for at once, and deleted where it is.

// keySet is keys by their hashes, sorted once all are there.
type keySet struct {
	hashes []basefile.KeyHash
	starts []int32 // by the first bits of a hash: where those begin
}

const (
	keyBytes  = 16 // that a key takes in a keySet
	startBits = 16
)

func (s *keySet) add(key string) { s.hashes = append(s.hashes, basefile.HashKey(key)) }

func compareHashes(a, b basefile.KeyHash) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo))
}

// sort makes it ready to be asked.
func (s *keySet) sort() {
	slices.SortFunc(s.hashes, compareHashes)
	s.hashes = slices.Compact(s.hashes)
	s.starts = make([]int32, 1<<startBits+1)
	for _, h := range s.hashes {
		s.starts[h.Hi>>(64-startBits)+1]++
	}
	for i := range 1 << startBits {
		s.starts[i+1] += s.starts[i]
	}
}

func (s *keySet) has(key string) bool {
	h := basefile.HashKey(key)
	first := h.Hi >> (64 - startBits)
	_, found := slices.BinarySearchFunc(s.hashes[s.starts[first]:s.starts[first+1]], h, compareHashes)
	return found
}

// rowsOf are those rows of a batch of a run whose keys are in the set, or the others.
func (s *keySet) rowsOf(rec arrow.RecordBatch, in bool) (sel []ref) {
	keys := hudi.RunKeys(rec)
	for row := range keys.Len() {
		if s.has(keys.Value(row)) == in {
			sel = append(sel, ref{0, int32(row)})
		}
	}
	return sel
}

// makeRoom sees that so many keys more can be held.
func (c *chunkCopy) makeRoom(ctx context.Context, s *stagedChanges, keys int) error {
	most := int(c.p.opts.MemoryBudget / 4 / keyBytes)
	if s.keys == nil || len(s.keys.hashes) == 0 || len(s.keys.hashes)+keys <= most {
		return nil
	}
	return c.sweep(ctx, s)
}

// sweep deletes what runs have under the keys that are held, wherever it is, and lets go of these.
func (c *chunkCopy) sweep(ctx context.Context, s *stagedChanges) error {
	s.keys.sort()
	if s.swept == nil {
		s.swept = hudi.NewSorter(c.sortOptions(8))
	}
	var mu sync.Mutex
	found := 0
	note := func(ctx context.Context, partition string, keys []string) error {
		mu.Lock()
		defer mu.Unlock()
		found += len(keys)
		return s.swept.Delete(ctx, partition, keys)
	}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for lane := range c.stage.head.Lanes {
		g.Go(func() error {
			for _, run := range c.stagedRuns() {
				if err := c.sweepLane(within, run.run(mostBlock), lane, s.keys, note); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("look for changed keys in what was copied: %w", err)
	}
	c.p.log.Info("changed keys are looked for in what was copied", "table", c.t.name, "keys", len(s.keys.hashes), "rows", found)
	s.keys.hashes = s.keys.hashes[:0]
	return nil
}

// sweepLane takes the keys that a lane of a run has of a set.
func (c *chunkCopy) sweepLane(ctx context.Context, run hudi.Run, lane int, of *keySet, found func(ctx context.Context, partition string, keys []string) error) error {
	next, end, err := run.Lane(ctx, lane)
	if err != nil {
		return err
	}
	defer end()
	for {
		rec, err := next()
		if rec == nil || err != nil {
			return err
		}
		if err = ctx.Err(); err == nil {
			err = c.sweepRows(ctx, rec, of.rowsOf(rec, true), found)
		}
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func (c *chunkCopy) sweepRows(ctx context.Context, rec arrow.RecordBatch, sel []ref, found func(ctx context.Context, partition string, keys []string) error) error {
	if len(sel) == 0 {
		return nil
	}
	some, err := take(rec, sel)
	if err != nil {
		return err
	}
	paths, err := partitionPaths(some, c.t.partitions, c.t.table.PartitionPaths)
	if err != nil {
		return err
	}
	keys, at := hudi.RunKeys(some), map[string][]string{}
	for row := range sel {
		at[paths.Value(row)] = append(at[paths.Value(row)], keys.Value(row))
	}
	for path, keys := range at {
		if err := found(ctx, path, keys); err != nil {
			return err
		}
	}
	return nil
}
