package hudi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/logfile"
	"lakefeed/storage"
)

// ImportFile is a Parquet file to import.
type ImportFile struct {
	Name string // for messages
	Size int64
	Open func(ctx context.Context) (storage.Reader, error)
}

// ImportOptions say what table to make of Parquet files.
type ImportOptions struct {
	// LastWins lets of several rows with one key the last count, in the order of the
	// files; where OrderingField names a column, the one that has the greatest value in
	// it. Without LastWins a key that comes twice is refused.
	LastWins bool
	// Memory bounds what is held of the rows, in bytes; default 256 MiB. A row group that
	// is being written comes on top.
	Memory int64
	// TempDir is where the rows are kept meanwhile, about as large as they are in memory;
	// default the system's.
	TempDir string
	// CreateOptions are those of the table. Schema comes from the files. OrderingField
	// may be left out: the first key column takes its place, and of two changes the later
	// one counts all the same. Buckets is by default one for each 256 MiB of the files;
	// in tables with partitions one in each.
	CreateOptions
}

func (o *ImportOptions) setDefaults(files []ImportFile) {
	const bucketBytes = 256 << 20
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	if o.Buckets == 0 && len(o.PartitionBy) == 0 {
		size := int64(0)
		for _, f := range files {
			size += f.Size
		}
		o.Buckets = int(max((size+bucketBytes-1)/bucketBytes, 1))
	}
	o.CreateOptions.setDefaults()
}

// ImportResult says what an import made.
type ImportResult struct {
	Instant string // of its one commit
	Rows    int64  // of the table
	Dropped int64  // rows that another one of their key took the place of
}

// Import makes a table of Parquet files, in a folder that must be empty. All rows are
// written anew, in the types that every engine reads: decimals that are kept as integers,
// INT96 timestamps and lists of two levels among them. A value that would not stay the
// same is an error. Columns are found by name; one that a file lacks is null.
//
// The rows appear at once, in one commit; an import that fails leaves nothing behind.
// They pass through files, divided by the file groups that they go to: memory is bounded
// by Memory, and by 48 bytes for each row of the largest bucket.
func Import(ctx context.Context, store storage.Store, files []ImportFile, opts ImportOptions) (ImportResult, error) {
	opts.setDefaults(files)
	i := &importer{files: files, opts: opts, ordered: opts.OrderingField != ""}
	if err := i.readSchema(ctx); err != nil {
		return ImportResult{}, fmt.Errorf("import: %w", err)
	}
	if i.opts.Schema = i.schema; !i.ordered && len(opts.RecordKey) > 0 {
		i.opts.OrderingField = opts.RecordKey[0]
	}
	table, err := Create(ctx, store, i.opts.CreateOptions)
	if err != nil {
		return ImportResult{}, err
	}
	res, err := i.run(ctx, table)
	if err != nil {
		return ImportResult{}, errors.Join(fmt.Errorf("import into %s: %w", store, err), discard(context.WithoutCancel(ctx), store))
	}
	return res, nil
}

// discard deletes a table that never had a row. Its folder was empty before.
func discard(ctx context.Context, store storage.Store) error {
	folders, err := store.Dirs(ctx, "")
	for _, f := range folders {
		err = errors.Join(err, store.DeleteAll(ctx, f))
	}
	for info, lerr := range store.List(ctx, "", false) {
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		err = errors.Join(err, store.Delete(ctx, info.Name))
	}
	if err != nil {
		return fmt.Errorf("delete what the import wrote: %w", err)
	}
	return nil
}

type importer struct {
	files   []ImportFile
	opts    ImportOptions
	ordered bool          // an ordering field was named
	schema  *arrow.Schema // of the data columns
	table   *Table
	spill   *importSpill
	res     ImportResult
}

// readSchema finds the columns of all files.
func (i *importer) readSchema(ctx context.Context) error {
	if len(i.files) == 0 {
		return badOption("there are no Parquet files")
	}
	var fields []arrow.Field
	for n, f := range i.files {
		err := i.withReader(ctx, f, func(r *basefile.Reader, _ *reading) error {
			var err error
			fields, err = joinFields(fields, r.Schema().Fields(), n > 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	for n := range fields { // Hudi's key columns may not be null
		if slices.Contains(i.opts.RecordKey, fields[n].Name) {
			fields[n].Nullable = false
		}
	}
	i.schema = arrow.NewSchema(fields, nil)
	return nil
}

func (i *importer) withReader(ctx context.Context, f ImportFile, use func(*basefile.Reader, *reading) error) error {
	file, err := f.Open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Name, err)
	}
	defer closeFile(file)
	in := &reading{Reader: file, path: f.Name}
	r, err := basefile.Open(in, file.Size(), nil)
	if err != nil {
		return in.blame(ofColumn(err))
	}
	if err := errors.Join(use(r, in), r.Close()); err != nil {
		if _, named := errors.AsType[*CorruptError](err); named {
			return err
		}
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// run divides the rows, then writes them group by group.
func (i *importer) run(ctx context.Context, table *Table) (ImportResult, error) {
	i.table = table
	spill := newImportSpill(i.opts, table)
	defer spill.close()
	i.spill = spill
	for n, f := range i.files {
		if err := i.withReader(ctx, f, func(r *basefile.Reader, in *reading) error { return i.divide(ctx, r, in, int32(n)) }); err != nil {
			return i.res, err
		}
	}
	x, err := table.Begin(ctx, TxnOptions{Operation: BulkInsert})
	if err != nil {
		return i.res, err
	}
	for _, p := range spill.parts {
		if err = i.writePart(ctx, x, p); err != nil {
			break
		}
	}
	if err == nil {
		_, err = x.Commit(ctx, nil)
	}
	if err != nil {
		err = x.undo(ctx, err)
	}
	if err == nil {
		i.res.Instant = x.Instant()
	}
	return i.res, err
}

// divide passes a file's rows on to the parts that they belong to.
func (i *importer) divide(ctx context.Context, r *basefile.Reader, in *reading, number int32) error {
	row := int64(0)
	c := &consumer[arrow.RecordBatch]{take: func(batch arrow.RecordBatch) error {
		n := batch.NumRows()
		if err := i.divideBatch(ctx, batch, number); err != nil {
			return fmt.Errorf("rows %d to %d: %w", row, row+n-1, err)
		}
		row += n
		return nil
	}}
	err := r.Each(ctx, c.yield)
	if c.err != nil {
		return err
	}
	return in.blame(err)
}

func (i *importer) divideBatch(ctx context.Context, batch arrow.RecordBatch, number int32) error {
	rows, err := importBatch(ctx, batch, i.schema)
	if err != nil {
		return err
	}
	defer rows.Release()
	keys, err := RecordKeys(rows, i.table.key)
	if err != nil {
		return err
	}
	defer keys.Release()
	paths, err := i.table.PartitionPaths(rows)
	if err != nil {
		return err
	}
	defer paths.Release()
	return i.spill.add(rows, keys, paths, number)
}

// writePart writes the groups of a part, one after the other.
func (i *importer) writePart(ctx context.Context, x *Txn, p *importPart) error {
	c, err := i.newChoice()
	if err == nil {
		err = p.each(c.add)
	}
	if err != nil {
		return err
	}
	for _, id := range p.groups() {
		if err := i.writeGroup(ctx, x, p, id, c.winners); err != nil {
			return err
		}
	}
	return nil
}

// importWinner is the row of a key that counts, by its place in the part.
type importWinner struct {
	row   int64
	order int64 // as an ordering keeps it
	file  int32
}

// choice finds the row of each key of a part that counts.
type choice struct {
	*importer

	winners map[basefile.KeyHash]importWinner // by key and partition
	order   *ordering                         // nil: the last one counts
}

func (i *importer) newChoice() (*choice, error) {
	c := &choice{importer: i, winners: map[basefile.KeyHash]importWinner{}}
	if !i.ordered || !i.opts.LastWins {
		return c, nil
	}
	var err error
	c.order, err = newOrdering([]string{i.opts.OrderingField}, i.schema)
	return c, err
}

func placeHash(partition, key string) basefile.KeyHash {
	return basefile.HashKey(partition + "\x00" + key)
}

func (c *choice) add(rows *importRows, from int64) error {
	var columns []arrow.Array
	values := make([]logfile.Value, 1)
	if c.order != nil {
		columns = c.order.columns(rows.data(c.schema))
	}
	for row := range rows.keys.Len() {
		h := placeHash(rows.paths.Value(row), rows.keys.Value(row))
		old, twice := c.winners[h]
		w := importWinner{row: from + int64(row), file: rows.file(row)}
		switch {
		case !twice:
			c.res.Rows++
		case !c.opts.LastWins:
			return &RowError{Twice: true, Reason: fmt.Sprintf("key %q comes twice%s, in %s and %s: name other key columns, or let the last one count (--last-wins)",
				rows.keys.Value(row), inPartition(rows.paths.Value(row)), c.files[old.file].Name, c.files[w.file].Name)}
		default:
			c.res.Dropped++
		}
		if c.order != nil {
			k := c.order.rowKey(columns, row, values)
			if twice && c.order.compare(k, old.order) < 0 {
				continue
			}
			w.order = c.order.keep(k)
		}
		c.winners[h] = w
	}
	return nil
}

func inPartition(path string) string {
	if path == "" {
		return ""
	}
	return " in partition " + path
}

func (i *importer) writeGroup(ctx context.Context, x *Txn, p *importPart, id bucketID, winners map[basefile.KeyHash]importWinner) error {
	g, err := x.Group(ctx, id.partition, id.bucket)
	if err != nil {
		return err
	}
	err = p.each(func(rows *importRows, from int64) error {
		var sel []int32
		for row := range rows.keys.Len() {
			if rows.group(row) != id {
				continue
			}
			if w := winners[placeHash(id.partition, rows.keys.Value(row))]; w.row == from+int64(row) {
				sel = append(sel, int32(row))
			}
		}
		return upsertRows(ctx, g, rows.data(i.schema), rows.keys, sel)
	})
	return errors.Join(err, g.Close(ctx))
}

func upsertRows(ctx context.Context, g *GroupWriter, data arrow.RecordBatch, keys *array.String, sel []int32) error {
	if len(sel) == 0 {
		return nil
	}
	rows, err := column.Take(data, sel)
	if err != nil {
		return err
	}
	defer rows.Release()
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	for _, row := range sel {
		b.Append(keys.Value(int(row)))
	}
	chosen := b.NewStringArray()
	defer chosen.Release()
	return g.Upsert(ctx, rows, chosen)
}
