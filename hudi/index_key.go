package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// IndexGlobalKey is the index of partitioned tables of hash buckets that keeps for each
// key the partition that its row is in, in Options.Keys: so a change that has only the
// key finds the row, and a row whose partition columns change leaves its old partition.
// For other engines the table is one of [IndexBucket].
const IndexGlobalKey IndexType = "GLOBAL_KEY"

// KeyStore keeps texts by key on the disk of one machine. What [IndexGlobalKey] keeps in
// it is a cache: it may be lost at any time, and is made anew. The package keyindex has
// one.
type KeyStore interface {
	// Load reads values; "" for a key that is not there.
	Load(keys []string) ([]string, error)
	// Save writes values, "" for a key that is gone. The state and what was saved before
	// it last, all or nothing.
	Save(values map[string]string, state []byte) error
	// State is the last state that was saved, nil if there is none.
	State() ([]byte, error)
	// Clear deletes everything.
	Clear() error
}

// keyState says what a store's content is of.
type keyState struct {
	Table    string   // what the table is
	Instants []string // the writes on its timeline that are taken in, in order; none: it is being filled
	Pending  []string // those that were not completed then
}

// keyIndex is [IndexGlobalKey]. What it says may be too much: a key may be gone from the
// partition that it names. It never says too little, as it takes in all commits, or all
// rows, before it is asked.
type keyIndex struct{ store KeyStore }

func (i *keyIndex) global() bool { return true }

func (i *keyIndex) home(x *Txn, p place) (target, bool) { return bucketIndex{}.home(x, p) }

func (i *keyIndex) find(ctx context.Context, x *Txn, places []place) ([][]target, error) {
	if err := i.catchUp(ctx, x); err != nil {
		return nil, fmt.Errorf("catch up with the index of keys: %w", err)
	}
	keys := make([]string, len(places))
	for n, p := range places {
		keys[n] = p.key
	}
	partitions, err := i.store.Load(keys)
	if err != nil {
		return nil, fmt.Errorf("look up %d keys: %w", len(keys), err)
	}
	out := make([][]target, len(places))
	for n, p := range partitions {
		if p != "" {
			t, _ := i.home(x, place{p, keys[n]})
			out[n] = []target{t}
		}
	}
	return out, nil
}

// identity is what a table is: another one in its place has other instants too.
func (t *Table) identity() string {
	return strings.Join([]string{t.store.String(), t.name, strings.Join(t.key, ","), strings.Join(t.partition.fields, ",")}, "\n")
}

// catchUp takes in what was written since, or where that cannot be told all rows.
func (i *keyIndex) catchUp(ctx context.Context, x *Txn) error {
	state, err := i.state()
	if err != nil {
		return err
	}
	now := stateOf(x)
	unseen, ok := state.unseen(x)
	if !ok {
		return i.rebuild(ctx, x, now)
	}
	if len(unseen) == 0 {
		return nil
	}
	for _, c := range unseen {
		err := i.takeIn(ctx, x, c)
		if errors.Is(err, storage.ErrNotExist) || errors.Is(err, ErrCleaned) {
			return i.rebuild(ctx, x, now)
		}
		if err != nil {
			return err
		}
	}
	return i.save(nil, now)
}

// stateOf is the state of an index that has all that a transaction sees.
func stateOf(x *Txn) keyState {
	return keyState{x.table.identity(), times(x.timeline.Completed()), times(x.timeline.Pending())}
}

func times(all []timeline.Instant) []string {
	out := make([]string, len(all))
	for n, i := range all {
		out[n] = i.Time
	}
	return out
}

func (i *keyIndex) state() (keyState, error) {
	var s keyState
	data, err := i.store.State()
	if err != nil || data == nil {
		return s, err
	}
	if json.Unmarshal(data, &s) != nil {
		return keyState{}, nil //nolint:nilerr // of another time; it is made anew
	}
	return s, nil
}

func (i *keyIndex) save(values map[string]string, s keyState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return i.store.Save(values, data)
}

// unseen are the completed writes that are not taken in; ok is false where it cannot be
// told: another table, a write that was taken back, one that was archived since it was
// pending, or none left that was seen. One that a savepoint keeps is not such a one: where
// the table was restored to it, what came behind and was taken back looks archived.
func (s keyState) unseen(x *Txn) (unseen []timeline.Instant, ok bool) {
	if s.Table != x.table.identity() {
		return nil, false
	}
	seen, left := map[string]bool{}, 0
	for _, time := range s.Instants {
		seen[time] = true
		if !counts(x.timeline, time) {
			return nil, false
		}
	}
	for _, time := range s.Pending {
		if !seen[time] && !x.timeline.Has(time) && counts(x.timeline, time) {
			return nil, false
		}
	}
	for _, c := range x.timeline.Completed() {
		switch {
		case !seen[c.Time]:
			unseen = append(unseen, c)
		case !x.timeline.BeforeStart(c.Time):
			left++
		}
	}
	return unseen, left > 0
}

// takeIn notes the keys that a commit wrote. Those that it deleted may stay.
func (i *keyIndex) takeIn(ctx context.Context, x *Txn, c timeline.Instant) error {
	m, err := x.table.readCommit(ctx, c)
	if err != nil || m.Compacted {
		return err
	}
	w := newWritten()
	w.add(c.Time, c.Completion, m)
	for partition, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			f, ok := parseDataFile(s.Path, s.FileSizeInBytes)
			if !ok {
				continue
			}
			slice := &FileSlice{Partition: partition, FileID: f.FileID, Instant: f.Instant}
			if f.IsLog() {
				slice.Logs = []*DataFile{f}
			} else {
				slice.Base = f
			}
			if err := i.takeSlice(ctx, x, slice, w); err != nil {
				return fmt.Errorf("read keys of %s: %w", f.Path(), err)
			}
		}
	}
	return nil
}

// takeSlice notes the keys of a slice's rows, which commits wrote.
func (i *keyIndex) takeSlice(ctx context.Context, x *Txn, s *FileSlice, w *written) error {
	state, err := i.state()
	if err != nil {
		return err
	}
	scan := &sliceScan{table: x.table, slice: s, timeline: x.timeline, full: x.before, schema: keySchema, wrote: w.files(s.Group(), x.timeline)}
	return scan.run(ctx, func(batch arrow.RecordBatch) error {
		values := make(map[string]string, batch.NumRows())
		if err := eachRecordKey(batch, func(key string) { values[strings.Clone(key)] = s.Partition }); err != nil {
			return err
		}
		return i.save(values, state)
	})
}

// rebuild reads the keys of all rows.
func (i *keyIndex) rebuild(ctx context.Context, x *Txn, now keyState) error {
	if err := i.store.Clear(); err != nil {
		return fmt.Errorf("clear: %w", err)
	}
	if err := i.save(nil, keyState{Table: now.Table}); err != nil {
		return err
	}
	slices := x.slices(nil)
	w, err := x.table.checkFiles(ctx, x.timeline, slices, checkScope{})
	if err != nil {
		return err
	}
	scans, scanCtx := errgroup.WithContext(ctx)
	scans.SetLimit(2)
	for _, s := range slices {
		scans.Go(func() error { return i.takeSlice(scanCtx, x, s, w) })
	}
	if err := scans.Wait(); err != nil {
		return err
	}
	x.table.opts.Logger.Info("made the index of keys anew", "table", x.table.name, "file groups", len(slices))
	return i.save(nil, now)
}

// committed notes what a transaction wrote and deleted. What is noted stands in the table
// already: where it ends half way, the next look-up takes the commit in.
func (i *keyIndex) committed(x *Txn) error {
	state, err := i.state()
	if err != nil {
		return err
	}
	if unseen, ok := state.unseen(x); !ok || len(unseen) > 0 {
		return nil // the next look-up takes it in
	}
	if x.op == InsertOverwriteTable && x.replace == nil {
		if err := i.store.Clear(); err != nil {
			return fmt.Errorf("clear: %w", err)
		}
	} else if err := i.forget(x.placed.gone, state); err != nil {
		return err
	}
	for _, run := range x.placed.rows {
		err := run.each(func(keys []string) error {
			values := make(map[string]string, len(keys))
			for _, key := range keys {
				values[key] = run.partition
			}
			return i.save(values, state)
		})
		if err != nil {
			return err
		}
	}
	state = stateOf(x)
	state.Instants = append(state.Instants, x.time)
	return i.save(nil, state)
}

// forget takes keys out that were deleted from the partition that the index has for them.
func (i *keyIndex) forget(gone []*keyRun, state keyState) error {
	for _, run := range gone {
		err := run.each(func(keys []string) error {
			had, err := i.store.Load(keys)
			if err != nil {
				return fmt.Errorf("look up %d keys: %w", len(keys), err)
			}
			values := map[string]string{}
			for n, key := range keys {
				if had[n] == run.partition {
					values[key] = ""
				}
			}
			return i.save(values, state)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maxPlaced bounds the bytes of keys that a transaction remembers for the index; those of
// a larger one are read from its files.
const maxPlaced = 16 << 20

// placed is where a transaction wrote and deleted keys.
type placed struct {
	rows, gone []*keyRun
	bytes      int
	tooMany    bool // to be remembered
}

// keyRun is keys of one partition, one behind the other.
type keyRun struct {
	partition string
	data      []byte
	ends      []int32
}

// runKeys is how many keys of a run are handled at once.
const runKeys = 8192

// each passes the keys on, some at a time.
func (r *keyRun) each(pass func([]string) error) error {
	from := int32(0)
	for some := range slices.Chunk(r.ends, runKeys) {
		keys := make([]string, len(some))
		for n, end := range some {
			keys[n] = string(r.data[from:end])
			from = end
		}
		if err := pass(keys); err != nil {
			return err
		}
	}
	return nil
}

// note remembers keys; of the runs the last may go on.
func (p *placed) note(runs *[]*keyRun, partition string, n int, key func(int) string) {
	if p.tooMany {
		return
	}
	last := len(*runs) - 1
	if last < 0 || (*runs)[last].partition != partition {
		*runs = append(*runs, &keyRun{partition: partition})
		last++
	}
	r := (*runs)[last]
	for i := range n {
		r.data = append(r.data, key(i)...)
		r.ends = append(r.ends, int32(len(r.data)))
		p.bytes += len(key(i)) + 4
	}
	if p.bytes > maxPlaced {
		*p = placed{tooMany: true}
	}
}

// notePlaced remembers where keys were written to, if there is an index of them.
func (x *Txn) notePlaced(partition string, keys *array.String) {
	if x.table.indexType != IndexGlobalKey {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.placed.note(&x.placed.rows, partition, keys.Len(), keys.Value)
}

// noteGone remembers where keys were deleted, if there is an index of them.
func (x *Txn) noteGone(partition string, keys []string) {
	if x.table.indexType != IndexGlobalKey {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.placed.note(&x.placed.gone, partition, len(keys), func(i int) string { return keys[i] })
}

// indexKeys tells the index of keys, if there is one, what a transaction wrote.
func (t *Table) indexKeys(x *Txn) {
	i, ok := t.index().(*keyIndex)
	if !ok || x.placed.tooMany {
		return
	}
	if err := i.committed(x); err != nil {
		t.opts.Logger.Warn("the index of keys takes the commit in later", "table", t.name, "instant", x.time, "error", err)
	}
}
