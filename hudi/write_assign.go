package hudi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"lakefeed/hudi/basefile"
	"lakefeed/internal/arrowsize"
)

// groupWork is what a transaction does to one file group.
type groupWork struct {
	rows    []int32
	deletes []string
}

// rowWriter lets a transaction write rows, and delete some by key, wherever the table's
// index says that they are.
type rowWriter struct {
	txn   *Txn
	index index
	rows  *keyedRows
	// lookUp: rows may be there already. Else each is taken for new.
	lookUp bool
	// fill: new rows may go into small files that are there.
	fill bool
	// alone: a row whose key has one in a partition that stays is refused.
	alone bool
	// only: keys are deleted in the partitions that they are given for, and in no other.
	only bool

	works   map[target]*groupWork
	inserts map[string][]int32 // by partition
}

// write writes the selected rows and deletes the keys of some places.
func (w *rowWriter) write(ctx context.Context, sel []int32, gone []place) error {
	w.works, w.inserts = map[target]*groupWork{}, map[string][]int32{}
	places := make([]place, 0, len(sel)+len(gone))
	for _, row := range sel {
		places = append(places, place{w.rows.partitions.Value(int(row)), w.rows.keys.Value(int(row))})
	}
	places = append(places, gone...)
	if w.alone {
		if err := w.checkAlone(ctx, places); err != nil {
			return err
		}
	}
	found := make([][]target, len(places))
	if w.lookUp {
		var err error
		if found, err = w.index.find(ctx, w.txn, places); err != nil {
			return err
		}
		w.txn.noteLooked(w.index, places)
	}
	for i, row := range sel {
		w.assign(row, places[i], found[i])
	}
	for i, p := range gone {
		for _, t := range found[len(sel)+i] {
			if w.only && t.Partition != p.partition {
				continue
			}
			w.work(t).deletes = append(w.work(t).deletes, p.key)
		}
	}
	return w.run(ctx)
}

// checkAlone refuses keys that have rows in partitions that the transaction does not replace.
func (w *rowWriter) checkAlone(ctx context.Context, places []place) error {
	x := w.txn
	stay := func(partition string) bool { return true }
	if x.op == InsertOverwrite {
		replaced := map[string]bool{}
		for _, p := range places {
			replaced[p.partition] = true
		}
		stay = func(partition string) bool { return !replaced[partition] }
	}
	found, err := w.index.find(ctx, x, places)
	if err != nil {
		return err
	}
	x.noteLooked(w.index, places)
	elsewhere := map[target][]string{}
	for i, p := range places {
		for _, t := range found[i] {
			if t.Partition != p.partition && stay(t.Partition) {
				elsewhere[t] = append(elsewhere[t], p.key)
			}
		}
	}
	for _, t := range slices.SortedFunc(maps.Keys(elsewhere), compareTargets) {
		there, err := x.rowsThere(ctx, t, elsewhere[t])
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return &RowError{Twice: true, Reason: fmt.Sprintf("key %q has a row in partition %q, which stays: Upsert lets the row move", there[0], t.Partition)}
		}
	}
	return nil
}

// rowsThere are those keys that have rows where an index found them: in a bucket, or by the
// logs of a file group, they may be gone.
func (x *Txn) rowsThere(ctx context.Context, at target, keys []string) ([]string, error) {
	if at.FileID == "" {
		rec, rows, err := x.table.Lookup(ctx, at.Partition, at.bucket, keys, nil)
		if err != nil {
			return nil, err
		}
		rec.Release()
		var there []string
		for i, k := range keys {
			if rows[i] >= 0 {
				there = append(there, k)
			}
		}
		return there, nil
	}
	found := slices.DeleteFunc(x.slices([]string{at.Partition}), func(s *FileSlice) bool { return s.FileID != at.FileID })
	if len(found) == 0 || len(found[0].Logs) == 0 {
		return keys, nil
	}
	w, err := x.table.checkFiles(ctx, x.timeline, found, checkScope{planned: true})
	if err != nil {
		return nil, fmt.Errorf("look up keys in %s: %w", at.GroupID, err)
	}
	scan := &sliceScan{table: x.table, slice: found[0], timeline: x.timeline, full: x.before, wrote: w.files(at.GroupID, x.timeline)}
	scan.only, scan.keys = map[basefile.KeyHash]int32{}, slices.Sorted(slices.Values(keys))
	for _, k := range keys {
		scan.only[basefile.HashKey(k)] = -1
	}
	var there []string
	if err := scan.logKeys(ctx, func(key string) { there = append(there, key) }); err != nil {
		return nil, fmt.Errorf("look up keys in %s: %w", at.GroupID, err)
	}
	return there, nil
}

// assign gives a row to the file group that has its key in its partition, else to a
// new place; in all others the key is deleted.
func (w *rowWriter) assign(row int32, p place, found []target) {
	home, ok, others := homeOf(found, p.partition)
	for _, t := range others {
		w.work(t).deletes = append(w.work(t).deletes, p.key)
	}
	if !ok {
		home, ok = w.index.home(w.txn, p)
	}
	if !ok {
		w.inserts[p.partition] = append(w.inserts[p.partition], row)
		return
	}
	w.work(home).rows = append(w.work(home).rows, row)
}

func (w *rowWriter) work(t target) *groupWork {
	work := w.works[t]
	if work == nil {
		work = &groupWork{}
		w.works[t] = work
	}
	return work
}

func compareTargets(a, b target) int {
	return cmp.Or(compareGroups(a.GroupID, b.GroupID), cmp.Compare(a.bucket, b.bucket))
}

// run writes group after group, so that one is open at a time.
func (w *rowWriter) run(ctx context.Context) error {
	for _, p := range slices.Sorted(maps.Keys(w.inserts)) {
		if err := w.insert(ctx, p, w.inserts[p]); err != nil {
			return err
		}
	}
	for _, t := range slices.SortedFunc(maps.Keys(w.works), compareTargets) {
		if err := w.runOne(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *rowWriter) runOne(ctx context.Context, t target) error {
	g, err := w.txn.openTarget(ctx, t)
	if err != nil {
		return err
	}
	if err := w.do(ctx, g, w.works[t]); err != nil {
		return err
	}
	return g.Close(ctx)
}

func (w *rowWriter) do(ctx context.Context, g *GroupWriter, work *groupWork) error {
	if err := g.Delete(ctx, work.deletes); err != nil || len(work.rows) == 0 {
		return err
	}
	return w.rows.upsert(ctx, g, work.rows)
}

// insert writes new rows of a partition: into its small files, the smallest first, and
// then into new file groups.
func (w *rowWriter) insert(ctx context.Context, partition string, sel []int32) error {
	small := w.smallSlices(partition)
	for len(sel) > 0 {
		var g *GroupWriter
		var err error
		size := int64(0)
		if len(small) > 0 {
			t := target{GroupID: small[0].Group()}
			if g, err = w.txn.openSlice(ctx, t.GroupID, true); err != nil {
				return err
			}
			if work := w.works[t]; work != nil {
				delete(w.works, t)
				err = w.do(ctx, g, work)
			}
			size, small = small[0].Base.Size, small[1:]
		} else {
			g, err = w.txn.newGroup(partition)
		}
		if err != nil {
			return err
		}
		if sel, err = w.fillGroup(ctx, g, size, sel); err != nil {
			return err
		}
		if err = g.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fillGroup writes rows until the group's file is large enough, and returns the rest.
func (w *rowWriter) fillGroup(ctx context.Context, g *GroupWriter, size int64, sel []int32) ([]int32, error) {
	const stepBytes, maxStep = 1 << 20, 8192 // of Arrow, and rows, between two looks at the size
	limit := w.txn.table.opts.MaxFileBytes
	perRow := arrowsize.Batch(w.rows.rows)/max(w.rows.rows.NumRows(), 1) + 1
	step := int(min(max(min(stepBytes, limit/4)/perRow, 1), maxStep))
	for len(sel) > 0 {
		some := sel[:min(step, len(sel))]
		if err := w.rows.upsert(ctx, g, some); err != nil {
			return nil, err
		}
		sel = sel[len(some):]
		if out, ok := g.out.(*baseOut); ok && size+out.size() >= limit {
			break
		}
	}
	return sel, nil
}

// smallSlices are the slices of a partition that new rows may be put into. With log
// files that would be a compaction, so those slices grow no more.
func (w *rowWriter) smallSlices(partition string) []*FileSlice {
	if !w.fill {
		return nil
	}
	t := w.txn.table
	small := slices.DeleteFunc(w.txn.slices([]string{partition}), func(s *FileSlice) bool {
		return s.Base == nil || len(s.Logs) > 0 || s.Base.Size >= t.smallFileBytes() || w.txn.isBusy(s.Group())
	})
	slices.SortStableFunc(small, func(a, b *FileSlice) int { return cmp.Compare(a.Base.Size, b.Base.Size) })
	return small
}

// openTarget opens the writer of a file group or bucket.
func (x *Txn) openTarget(ctx context.Context, t target) (*GroupWriter, error) {
	if t.FileID == "" {
		return x.Group(ctx, t.Partition, t.bucket)
	}
	return x.openSlice(ctx, t.GroupID, false)
}

// openSlice opens the writer of a file group that is there; with base it writes a base
// file whatever the table's type.
func (x *Txn) openSlice(ctx context.Context, id GroupID, base bool) (*GroupWriter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	name := "file group " + id.String()
	if x.ended {
		return nil, errEnded
	}
	if other := x.busy[x.table.conflictKey(id)]; other != "" {
		return nil, &ConflictError{Instant: x.time, Other: other, Groups: []GroupID{id}, Reason: "a service is about to rewrite the file group"}
	}
	slice := x.takeSlice(id)
	if slice == nil {
		return nil, fmt.Errorf("open %s of %s: it is not there, or is open in this transaction", name, x.table.name)
	}
	if slice.Base == nil {
		if _, err := x.table.checkFiles(ctx, x.timeline, []*FileSlice{slice}, checkScope{planned: true}); err != nil {
			return nil, fmt.Errorf("open %s of %s: %w", name, x.table.name, err)
		}
	}
	g := x.openGroup(id, slice, name)
	if _, log := g.out.(*logOut); base && log {
		g.out = &baseOut{group: g, changed: map[basefile.KeyHash]mark{}}
	}
	return g, nil
}

// takeSlice is the slice of a file group, nil if there is none or it is taken.
func (x *Txn) takeSlice(id GroupID) *FileSlice {
	found := x.found[id.Partition]
	if found == nil {
		found = map[string]*FileSlice{}
		for _, s := range x.slices([]string{id.Partition}) {
			found[s.FileID] = s
		}
		x.found[id.Partition] = found
	}
	slice := found[id.FileID]
	delete(found, id.FileID)
	return slice
}

// newGroup opens the writer of a new file group.
func (x *Txn) newGroup(partition string) (*GroupWriter, error) {
	if err := x.table.partition.check(partition); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return nil, errEnded
	}
	id := GroupID{partition, uuid.NewString() + "-0"}
	return x.openGroup(id, nil, "file group "+id.String()), nil
}

func (x *Txn) isBusy(id GroupID) bool { return x.busy[x.table.conflictKey(id)] != "" }

// smallFileBytes is the size below which a file takes new rows.
func (t *Table) smallFileBytes() int64 {
	switch {
	case t.opts.SmallFileBytes != 0:
		return t.opts.SmallFileBytes
	case t.typ == CopyOnWrite:
		return defaultSmallFile
	default:
		return defaultSmallFileLogged
	}
}

// size is about how large the file is that was begun, without what it takes over.
func (o *baseOut) size() int64 {
	if o.w == nil {
		return 0
	}
	if o.rewrite != nil {
		return o.rewrite.Size()
	}
	return o.w.Size()
}
