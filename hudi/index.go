package hudi

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lakefeed/hudi/timeline"
)

// IndexType says how a writer finds the file group that a record key is in. The values
// are those of Hudi's hoodie.index.type.
type IndexType string

const (
	// IndexBucket puts each key into the bucket that its hash says, in each partition:
	// nothing is looked up, and nothing kept.
	IndexBucket IndexType = "BUCKET"
	// IndexSimple reads the key columns of the base files of the partitions that rows
	// are written to. It is the one that Spark takes where it is told none.
	IndexSimple IndexType = "SIMPLE"
	// IndexBloom is IndexSimple, but for the files whose footers say that they do not
	// have the keys.
	IndexBloom IndexType = "BLOOM"
	// IndexGlobalSimple looks through all partitions: a key has one row in the table,
	// which moves where its partition columns change.
	IndexGlobalSimple IndexType = "GLOBAL_SIMPLE"
	// IndexGlobalBloom is IndexGlobalSimple, but for the files that do not have the keys.
	IndexGlobalBloom IndexType = "GLOBAL_BLOOM"
)

const (
	propIndex    = "hoodie.index.type"
	propOwnIndex = "lakefeed.index.type" // where other engines see another one
)

var indexes = map[IndexType]index{
	IndexSimple:       &scanIndex{},
	IndexBloom:        &scanIndex{bloom: true},
	IndexGlobalSimple: &scanIndex{all: true},
	IndexGlobalBloom:  &scanIndex{all: true, bloom: true},
}

// place is where a row is to be: its key, in its partition.
type place struct{ partition, key string }

// target is where a row is or goes: a file group that is there or, without a file id,
// a bucket of the partition.
type target struct {
	GroupID

	bucket int
}

// index finds the file groups of record keys.
type index interface {
	// find tells for each place where the table, as the transaction found it, has rows
	// of the key: in the place's partition or, where the index is global, in any. A
	// bucket may turn out not to have it.
	find(ctx context.Context, x *Txn, places []place) ([][]target, error)
	// home is where the row of a key goes that is not there; ok is false where that may
	// be any file group of the partition.
	home(x *Txn, p place) (t target, ok bool)
	// global tells whether a key has one row in the table, not one in each partition.
	global() bool
}

// bucketIndex is [IndexBucket].
type bucketIndex struct{}

func (bucketIndex) find(_ context.Context, x *Txn, places []place) ([][]target, error) {
	out := make([][]target, len(places))
	for i, p := range places {
		t, _ := bucketIndex{}.home(x, p)
		out[i] = []target{t}
	}
	return out, nil
}

func (bucketIndex) home(x *Txn, p place) (target, bool) {
	return target{GroupID{Partition: p.partition}, BucketOf(p.key, x.table.key, x.table.buckets)}, true
}

func (bucketIndex) global() bool { return false }

// chooseIndex is the index of a table: what its properties say, or what is asked for,
// which must not undo what the table promises. It is empty where nobody knows.
func chooseIndex(asked IndexType, props Properties, buckets int) (IndexType, error) {
	has := IndexType(strings.ToUpper(props[propIndex]))
	if buckets > 0 {
		if props[propOwnIndex] == string(IndexGlobalKey) && (asked == "" || asked == IndexBucket) {
			asked = IndexGlobalKey
		}
		if asked == IndexGlobalKey {
			if props.partitioning().depth() == 0 {
				return "", fmt.Errorf("index %s: the table has no partitions, and needs none but %s", asked, IndexBucket)
			}
			return asked, nil
		}
		if asked != "" && asked != IndexBucket {
			return "", fmt.Errorf("index %s: the table has %d buckets, and other writers would not find rows outside of them", asked, buckets)
		}
		return IndexBucket, nil
	}
	if _, known := indexes[has]; !known && has != IndexBucket {
		has = "" // one that only its engine has
	}
	switch {
	case asked == "":
		return has, nil
	case asked == IndexBucket || asked == IndexGlobalKey:
		return "", fmt.Errorf("index %s: it needs Options.Buckets", asked)
	case has == IndexBucket:
		return "", fmt.Errorf("index %s: the table is made for %s: set Options.Buckets", asked, has)
	case has != "" && indexes[has].global() && !indexes[asked].global():
		return "", fmt.Errorf("index %s: the table is made for %s, where a key has one row in all partitions", asked, has)
	}
	return asked, nil
}

// checkIndex refuses the name of an index that is not known here.
func checkIndex(asked IndexType) error {
	if _, known := indexes[asked]; known || asked == "" || asked == IndexBucket || asked == IndexGlobalKey {
		return nil
	}
	return fmt.Errorf("index %q: want %s, %s, %s, %s, %s or %s", asked, IndexBucket, IndexSimple, IndexBloom, IndexGlobalSimple, IndexGlobalBloom, IndexGlobalKey)
}

// Index is how the table's writer finds the file groups of record keys; empty where
// neither the table nor the options say it: such a table is read only.
func (t *Table) Index() IndexType {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.indexType
}

// index is the table's, nil if it is not known.
func (t *Table) index() index {
	switch t.indexType {
	case "":
		return nil
	case IndexBucket:
		if t.buckets == 0 {
			return nil
		}
		return bucketIndex{}
	case IndexGlobalKey:
		if t.opts.Keys == nil {
			return nil
		}
		return &keyIndex{t.opts.Keys}
	default:
		return indexes[t.indexType]
	}
}

// hashed tells whether each file group is a hash bucket of its partition.
func (t *Table) hashed() bool { return t.indexType == IndexBucket || t.indexType == IndexGlobalKey }

func (t *Table) noIndex() error {
	switch t.indexType {
	case IndexBucket:
		return t.noBuckets()
	case IndexGlobalKey:
		return &UnsupportedError{"index", string(IndexGlobalKey), "it keeps the partitions of keys in a store of its own: set Options.Keys, as keyindex.Open makes it"}
	default:
	}
	return &UnsupportedError{"index", "unknown", "neither the table's commits nor its properties say it: set Options.Buckets to the number of hash buckets if it has the BUCKET index, else Options.Index (Spark's is SIMPLE where it was told none)"}
}

// Partitions tells for each record key the partition that its row is in as the transaction
// found the table, "" for a key that no partition has. That is too much at times: the row
// may be gone already, and to delete it there once more does no harm. The table must have
// a global index.
func (x *Txn) Partitions(ctx context.Context, keys []string) ([]string, error) {
	index := x.table.index()
	if !index.global() {
		return nil, fmt.Errorf("look up partitions of keys: index %s of %s is not global", x.table.indexType, x.table.name)
	}
	places := make([]place, len(keys))
	for n, key := range keys {
		places[n].key = key
	}
	found, err := index.find(ctx, x, places)
	if err != nil {
		return nil, fmt.Errorf("look up partitions of keys of %s: %w", x.table.name, err)
	}
	x.noteLooked(index, places)
	partitions := make([]string, len(keys))
	for n, targets := range found {
		if len(targets) > 0 {
			partitions[n] = targets[0].Partition
		}
	}
	return partitions, nil
}

// homeOf picks of the places where a key is the one that its row stays in, the first in
// its partition; the others lose it.
func homeOf(found []target, partition string) (home target, ok bool, others []target) {
	at := slices.IndexFunc(found, func(t target) bool { return t.Partition == partition })
	if at < 0 {
		return target{}, false, found
	}
	return found[at], true, slices.Delete(slices.Clone(found), at, at+1)
}

// noteLooked notes where keys were looked for that may have new rows.
func (x *Txn) noteLooked(i index, places []place) {
	if _, hashed := i.(bucketIndex); hashed {
		return // a key has one file group, where writers meet anyway
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.looked == nil {
		x.looked = map[string]bool{}
	}
	for _, p := range places {
		if i.global() {
			p.partition = allPartitions
		}
		x.looked[p.partition] = true
	}
}

// allPartitions is no path of a partition.
const allPartitions = "/"

// checkLooked is an error where another writer may have given a row to a key that the
// transaction did not find.
func (x *Txn) checkLooked(other timeline.Instant, m *timeline.CommitMetadata) error {
	if m.Compacted || m.OperationType == "CLUSTER" {
		return nil
	}
	for partition, stats := range m.PartitionToWriteStats {
		if len(stats) > 0 && (x.looked[partition] || x.looked[allPartitions]) {
			return &ConflictError{Instant: x.time, Other: other.Time, Reason: "it wrote to partition " + strconv.Quote(partition) + ", where keys were looked for"}
		}
	}
	return nil
}
