package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/schema"
)

// checkRows reads every row as a reader of the table gets it, with all columns, and sees
// that its meta columns say where it stands and that its key comes once.
func (c *checker) checkRows(ctx context.Context) error {
	if c.opts.Quick || strings.EqualFold(c.table.Properties()[propMetaFields], "false") {
		return nil
	}
	seen := newKeyCensus(c.opts.KeyMemory, c.opts.TempDir)
	defer seen.close()
	t := c.table
	var err error
	if c.history, err = t.historyOf(ctx, c.timeline, t.latest, ""); err != nil {
		return err
	}
	found := t.view.slices(c.timeline, "", nil)
	for n, s := range found {
		r := &rowCheck{checker: c, slice: s, number: int32(n), seen: seen, counts: map[string]int64{}}
		if err := r.run(ctx); err != nil {
			return err
		}
	}
	return c.checkUnique(ctx, seen, found)
}

// rowCheck checks the rows of one file slice. Of each kind of fault it tells the first,
// and how many there are.
type rowCheck struct {
	*checker

	slice  *FileSlice
	number int32
	seen   *keyCensus
	first  []rowFault
	counts map[string]int64
}

type rowFault struct{ kind, what, wayOut string }

func (r *rowCheck) run(ctx context.Context) error {
	t := r.table
	scan := &sliceScan{table: t, slice: r.slice, timeline: r.timeline, full: t.full, schema: t.full, wrote: r.written.files(r.slice.Group(), r.timeline), history: r.history}
	err := scan.run(ctx, func(batch arrow.RecordBatch) error { return r.batch(batch) })
	if err != nil {
		if err := r.unreadable(err); err != nil {
			return err
		}
	}
	for _, f := range r.first {
		what := f.what
		if n := r.counts[f.kind]; n > 1 {
			what += fmt.Sprintf("; %d rows of the file group are so", n)
		}
		if err := r.add(Broken, r.file(), -1, f.wayOut, "%s", what); err != nil {
			return err
		}
	}
	return nil
}

// file stands for the slice in messages.
func (r *rowCheck) file() string {
	if r.slice.Base != nil {
		return r.slice.Base.Path()
	}
	return r.slice.Logs[0].Path()
}

// unreadable makes a fault of an error of reading, unless one is told of a file of the
// slice already. An error of the store, or of the context, ends the check.
func (r *rowCheck) unreadable(err error) error {
	var unsupported *UnsupportedError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &unsupported):
		return err
	case r.slice.Base != nil && r.damaged[r.slice.Base.Path()]:
		return nil
	}
	for _, f := range r.slice.Logs {
		if r.damaged[f.Path()] {
			return nil
		}
	}
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		return r.fault(corrupt, fromCopy)
	}
	return r.add(Broken, r.file(), -1, fromCopy, "its rows cannot be read: %v", err)
}

func (r *rowCheck) note(kind, wayOut, what string, args ...any) {
	if r.counts[kind]++; r.counts[kind] == 1 {
		r.first = append(r.first, rowFault{kind, fmt.Sprintf(what, args...), wayOut})
	}
}

const writeAnew = "write the rows anew: lakefeed table read and lakefeed table import make a table of them"

func (r *rowCheck) batch(batch arrow.RecordBatch) error {
	r.report.Rows += batch.NumRows()
	keys, err := keysOf(batch)
	if err != nil {
		return err
	}
	made := r.madeKeys(batch)
	places := r.madePlaces(batch)
	times, partitions, names := textColumn(batch, schema.CommitTime), textColumn(batch, schema.PartitionPath), textColumn(batch, schema.FileName)
	for row := range keys.Len() {
		if keys.IsNull(row) {
			r.note("null key", writeAnew, "a row has no record key")
			continue
		}
		key := keys.Value(row)
		r.checkKey(key, made, row)
		r.checkPlace(key, partitions, places, row)
		if names != nil && names.IsValid(row) && !strings.Contains(names.Value(row), r.slice.FileID) {
			r.note("file name", writeAnew, "the row of key %q says that it stands in %s", key, names.Value(row))
		}
		if times != nil && (times.IsNull(row) || !counts(r.timeline, times.Value(row))) {
			r.note("commit time", "if that commit was rolled back, its row should not be there: restore the table to a savepoint",
				"the row of key %q is of %s, which is no completed commit", key, textOf(times, row))
		}
		if err := r.seen.add(basefile.HashKey(key), r.number); err != nil {
			return err
		}
	}
	return nil
}

func textColumn(batch arrow.RecordBatch, name string) *array.String {
	if at := batch.Schema().FieldIndices(name); len(at) > 0 {
		col, _ := batch.Column(at[0]).(*array.String)
		return col
	}
	return nil
}

func textOf(col *array.String, row int) string {
	if col.IsNull(row) {
		return "null"
	}
	return col.Value(row)
}

// madeKeys are the keys that the key columns make, in our form and in Hudi's; none
// where a key generator of another kind makes them.
func (r *rowCheck) madeKeys(batch arrow.RecordBatch) *array.String {
	if !plainKeys(r.table.Properties().keyGenerator()) {
		return nil
	}
	made, err := RecordKeys(batch, r.table.key)
	if err != nil {
		return nil // a null in a part of it, which Hudi allows
	}
	return made
}

// plainKeys tells whether a key generator makes keys of values as they are.
func plainKeys(class string) bool {
	name := class[strings.LastIndexByte(class, '.')+1:]
	switch name {
	case "", "SimpleKeyGenerator", "ComplexKeyGenerator", "NonpartitionedKeyGenerator", "SimpleAvroKeyGenerator", "ComplexAvroKeyGenerator", "NonpartitionedAvroKeyGenerator":
		return true
	}
	return false
}

// madePlaces are the partition paths that the partition columns make.
func (r *rowCheck) madePlaces(batch arrow.RecordBatch) *array.String {
	if r.table.partition.depth() == 0 || !plainKeys(r.table.Properties().keyGenerator()) {
		return nil
	}
	made, err := r.table.partition.paths(batch)
	if err != nil {
		return nil // such a value cannot be told apart
	}
	return made
}

func (r *rowCheck) checkKey(key string, made *array.String, row int) {
	if made != nil {
		want := made.Value(row)
		single := len(r.table.key) == 1 && key == r.table.key[0]+":"+want // as the complex key generator may say
		if key != want && !single && !strings.Contains(want, "%") {
			r.note("key", writeAnew, "a row's key is %q, and its key columns make %q", key, want)
		}
	}
	if n := r.table.Buckets(); n > 0 {
		if b, err := bucketOfFileID(r.slice.FileID); err != nil || b != r.table.Bucket(key) {
			r.note("bucket", "rewrite the table by the engine that wrote it, with "+BucketsKey+" as in the commits",
				"key %q is of bucket %d of %d, and stands in file group %s: upserts do not find it", key, r.table.Bucket(key), n, r.slice.FileID)
		}
	}
}

func (r *rowCheck) checkPlace(key string, said, made *array.String, row int) {
	if said != nil && textOf(said, row) != r.slice.Partition {
		r.note("partition", writeAnew, "the row of key %q says partition %q, and stands in %q", key, textOf(said, row), r.slice.Partition)
	}
	if made != nil && made.Value(row) != r.slice.Partition {
		r.note("place", writeAnew, "the row of key %q stands in partition %q, and its columns make %q", key, r.slice.Partition, made.Value(row))
	}
}

// checkUnique names keys that come twice.
func (c *checker) checkUnique(ctx context.Context, seen *keyCensus, found []*FileSlice) error {
	const most = 10 // that are named
	props := c.table.Properties()
	global := c.opts.GlobalKeys || isGlobal(props[propIndex]) || props[propOwnIndex] == string(IndexGlobalKey)
	twice, err := seen.twice(func(a, b int32) bool { return global || found[a].Partition == found[b].Partition })
	if err != nil {
		return err
	}
	for n, d := range twice {
		if n == most {
			return c.add(Broken, "", -1, writeAnew, "%d more keys come twice", len(twice)-most)
		}
		key, err := c.findKey(ctx, found[d.slices[0]], d.hash)
		if err != nil {
			return err
		}
		err = c.add(Broken, found[d.slices[1]].path(), -1, "delete the key and write its row once",
			"key %q comes twice: in file group %s and in %s", key, found[d.slices[0]].Group(), found[d.slices[1]].Group())
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *FileSlice) path() string {
	if s.Base != nil {
		return s.Base.Path()
	}
	return s.Logs[0].Path()
}

func isGlobal(index string) bool {
	return strings.HasPrefix(strings.ToUpper(cmp.Or(index, "")), "GLOBAL_") || strings.EqualFold(index, "RECORD_INDEX")
}

// findKey reads a slice again for the key of a hash.
func (c *checker) findKey(ctx context.Context, s *FileSlice, h basefile.KeyHash) (key string, err error) {
	t := c.table
	f, _ := t.full.FieldsByName(keyColumn)
	scan := &sliceScan{table: t, slice: s, timeline: c.timeline, full: t.full, schema: arrow.NewSchema(f, nil), only: map[basefile.KeyHash]int32{h: 0}, history: c.history}
	err = scan.run(ctx, func(batch arrow.RecordBatch) error {
		keys, err := keysOf(batch)
		if err == nil && keys.Len() > 0 {
			key = strings.Clone(keys.Value(0))
		}
		return err
	})
	return key, err
}
