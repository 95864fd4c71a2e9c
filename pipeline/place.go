package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi"
)

// groupID is a file group of a lake table.
type groupID struct {
	partition string
	bucket    int
}

func (g groupID) String() string {
	if g.partition == "" {
		return fmt.Sprintf("bucket %d", g.bucket)
	}
	return fmt.Sprintf("bucket %d of partition %s", g.bucket, g.partition)
}

// work is what some surviving changes do to one file group.
type work struct {
	groupID

	upserts []ref
	deletes []string
}

// places is where surviving changes go, and where rows of their keys are till now.
type places struct {
	works []*work
	old   map[string]string // of a partitioned table: record key -> the partition of its row
	known bool              // old is to be asked: else all rows are in the one partition that there is
}

// place finds the file groups of surviving changes. In a partitioned table a change
// leaves the partition that its key's row was in, and goes to the one that its values say.
func (p *Pipeline) place(ctx context.Context, t *target, l *layout, txn *hudi.Txn, r *reduction, truncated bool) (*places, error) {
	out := &places{}
	home := buckets{t.table.RecordKey(), txn.Buckets()} // of the table as the transaction found it
	if len(t.partitions) > 0 && len(l.table.Key) > 0 && !truncated {
		if err := out.lookUp(ctx, txn, r); err != nil {
			return nil, err
		}
	}
	paths, err := newPaths(t, l, r, out.old)
	if err != nil {
		return nil, err
	}
	works := map[groupID]*work{}
	to := func(partition, key string) *work {
		id := groupID{partition, home.of(key)}
		if works[id] == nil {
			works[id] = &work{groupID: id}
		}
		return works[id]
	}
	remove := func(key string) {
		if old, ok := out.old[key]; ok || !out.known {
			w := to(old, key)
			w.deletes = append(w.deletes, key)
		}
	}
	for i, at := range r.upserts {
		key := r.key(at)
		w := to(paths[i], key)
		w.upserts = append(w.upserts, at)
		if old, ok := out.old[key]; ok && old != w.partition {
			remove(key)
		}
	}
	if !truncated && (out.known || len(t.partitions) == 0) { // else there is nothing to delete from
		for _, key := range r.deletes {
			remove(key)
		}
	}
	out.works = slices.SortedFunc(maps.Values(works), func(a, b *work) int {
		return cmp.Or(strings.Compare(a.partition, b.partition), cmp.Compare(a.bucket, b.bucket))
	})
	return out, nil
}

// lookUp asks in which partitions the rows of all keys are that the changes name.
func (o *places) lookUp(ctx context.Context, txn *hudi.Txn, r *reduction) error {
	keys := slices.Clone(r.deletes)
	for _, at := range r.upserts {
		keys = append(keys, r.key(at))
	}
	keys = slices.AppendSeq(keys, maps.Values(r.fill))
	o.old, o.known = map[string]string{}, true
	one := map[string]string{} // a partition's path, once
	for some := range slices.Chunk(keys, chunkRows) {
		found, err := txn.Partitions(ctx, some)
		if err != nil {
			return err
		}
		for i, partition := range found {
			if partition == "" {
				continue
			}
			if one[partition] == "" {
				one[partition] = partition
			}
			o.old[some[i]] = one[partition]
		}
	}
	return nil
}

// newPaths makes the partition path of each row that is written.
func newPaths(t *target, l *layout, r *reduction, old map[string]string) ([]string, error) {
	paths := make([]string, len(r.upserts))
	if len(t.partitions) == 0 || len(paths) == 0 {
		return paths, nil
	}
	fields := make([]arrow.Field, len(t.partitions))
	cols := make([]arrow.Array, len(t.partitions))
	stays := make([]map[int]string, len(t.partitions)) // rows that stay in their folder at a level, and their stored keys
	for level, c := range t.partitions {
		var err error
		fields[level] = arrow.Field{Name: c.Lake, Nullable: true}
		if cols[level], stays[level], err = partitionValues(c, l, r); err != nil {
			return nil, fmt.Errorf("partition column %s: %w", c.By, err)
		}
		fields[level].Type = cols[level].DataType()
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(len(paths)))
	made, err := partitionPaths(rec, t.partitions, t.table.PartitionPaths)
	if err != nil {
		return nil, err
	}
	last := ""
	for i := range paths {
		if made.Value(i) != last {
			last = strings.Clone(made.Value(i))
		}
		paths[i] = last
	}
	return paths, keepFolders(paths, stays, t, l, old)
}

// partitionValues are the values of a partition column in the rows that are written, and
// the rows whose value was not sent and stays what it is in the table, with the keys
// under which that has it.
func partitionValues(c partitionColumn, l *layout, r *reduction) (arrow.Array, map[int]string, error) {
	at := l.schema.FieldIndices(c.From)
	if len(at) == 0 || l.source[at[0]] < 0 {
		return array.MakeArrayOfNull(mem, arrow.BinaryTypes.String, len(r.upserts)), nil, nil // it is gone from the source
	}
	source, stays := l.source[at[0]], map[int]string{}
	sel := slices.Clone(r.upserts)
	for i, row := range sel {
		s := r.slabs[row.slab]
		if !s.HasUnchanged(int(row.row)) {
			continue
		}
		column := columnIndex(s.Table, l.table.Columns[source].Name)
		if column < 0 {
			continue
		}
		from, key, ok := r.value(row, column)
		if ok {
			sel[i] = from
		} else {
			stays[i] = key
		}
	}
	a, err := sourceColumn(l.table, source, l.schema.Field(at[0]).Type, r, sel, nil)
	if err == nil && c.derived() {
		a, err = derive(a, c.unit())
	}
	return a, stays, err
}

// keepFolders puts the folders that rows stay in into their paths. A value that was not
// sent is that of the row as the table has it, whose partition says it too.
func keepFolders(paths []string, stays []map[int]string, t *target, l *layout, old map[string]string) error {
	for level, rows := range stays {
		for i, key := range rows {
			was, ok := old[key]
			if !ok {
				return &MissingRowError{l.table.String(), key, t.partitions[level].By}
			}
			folders := strings.Split(paths[i], "/")
			folders[level] = strings.Split(was, "/")[level]
			paths[i] = strings.Join(folders, "/")
		}
	}
	return nil
}
