package hudi

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/internal/arrowsize"
	"lakefeed/internal/scratch"
)

// importSpill divides rows by the file groups that they go to, into files: all rows of a
// group are in one part.
type importSpill struct {
	table  *Table
	dir    string
	schema *arrow.Schema // the data columns, then key, partition, bucket, file
	limit  int64         // bytes that wait in all parts
	held   int64
	parts  []*importPart
}

// importPart is the rows of some file groups.
type importPart struct {
	spill   *importSpill
	waiting []arrow.RecordBatch
	file    *os.File
	w       *ipc.Writer
	seen    map[bucketID]bool
}

// importParts is how many files rows are divided into at most. A part with several
// groups is read once for each.
const importParts = 128

// importRows is a batch of a part.
type importRows struct {
	batch       arrow.RecordBatch
	keys, paths *array.String
}

// importExtra is the number of columns behind the data columns.
const importExtra = 4

func newImportSpill(opts ImportOptions, table *Table) *importSpill {
	fields := slices.Clone(table.Schema().Fields())
	fields = append(fields, arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "partition", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "bucket", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "file", Type: arrow.PrimitiveTypes.Int32})
	s := &importSpill{table: table, dir: opts.TempDir, schema: arrow.NewSchema(fields, nil), limit: opts.Memory / 2}
	n := importParts
	if table.partition.depth() == 0 {
		n = min(n, table.Buckets())
	}
	for range n {
		s.parts = append(s.parts, &importPart{spill: s, seen: map[bucketID]bool{}})
	}
	return s
}

// add divides a batch.
func (s *importSpill) add(data arrow.RecordBatch, keys, paths *array.String, file int32) error {
	rows := int(data.NumRows())
	sel := make([][]int32, len(s.parts))
	buckets, files := array.NewInt32Builder(column.Allocator), array.NewInt32Builder(column.Allocator)
	defer buckets.Release()
	defer files.Release()
	for row := range rows {
		id := bucketID{paths.Value(row), s.table.Bucket(keys.Value(row))}
		n := s.partOf(id)
		if !s.parts[n].seen[id] {
			s.parts[n].seen[bucketID{string([]byte(id.partition)), id.bucket}] = true
		}
		sel[n] = append(sel[n], int32(row))
		buckets.Append(int32(id.bucket))
		files.Append(file)
	}
	extra := []arrow.Array{keys, paths, buckets.NewArray(), files.NewArray()}
	defer column.Release(extra[2:])
	all := array.NewRecordBatch(s.schema, append(slices.Clone(data.Columns()), extra...), data.NumRows())
	defer all.Release()
	for n, some := range sel {
		if len(some) == 0 {
			continue
		}
		part, err := column.Take(all, some)
		if err != nil {
			return err
		}
		s.parts[n].waiting = append(s.parts[n].waiting, part)
		s.held += arrowsize.Batch(part)
	}
	if s.held > s.limit {
		return s.flush()
	}
	return nil
}

// partOf is the part of a file group.
func (s *importSpill) partOf(id bucketID) int {
	if s.table.partition.depth() == 0 {
		return id.bucket % len(s.parts)
	}
	return int((basefile.HashKey(id.partition).Lo + uint64(id.bucket)) % uint64(len(s.parts)))
}

// flush writes what waits.
func (s *importSpill) flush() error {
	for _, p := range s.parts {
		if err := p.flush(); err != nil {
			return err
		}
	}
	s.held = 0
	return nil
}

func (p *importPart) flush() error {
	if len(p.waiting) == 0 {
		return nil
	}
	if p.file == nil {
		f, err := scratch.Create(p.spill.dir, "lakefeed-import")
		if err != nil {
			return fmt.Errorf("make a file for rows: %w", err)
		}
		p.file, p.w = f, ipc.NewWriter(f, ipc.WithSchema(p.spill.schema), ipc.WithLZ4())
	}
	for _, b := range p.waiting {
		if err := p.w.Write(b); err != nil {
			return fmt.Errorf("write rows to %s: %w", p.file.Name(), err)
		}
		b.Release()
	}
	p.waiting = nil
	return nil
}

// each passes the part's batches on, in the order in which they came, with the number of
// the rows before.
func (p *importPart) each(use func(rows *importRows, from int64) error) error {
	from := int64(0)
	pass := func(b arrow.RecordBatch) error {
		n := p.spill.table.Schema().NumFields()
		err := use(&importRows{b, b.Column(n).(*array.String), b.Column(n + 1).(*array.String)}, from)
		from += b.NumRows()
		return err
	}
	if p.file != nil {
		if err := p.eachWritten(pass); err != nil {
			return err
		}
	}
	for _, b := range p.waiting {
		if err := pass(b); err != nil {
			return err
		}
	}
	return nil
}

func (p *importPart) eachWritten(pass func(arrow.RecordBatch) error) error {
	end, err := p.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	r, err := ipc.NewReader(bufio.NewReaderSize(io.NewSectionReader(p.file, 0, end), 256<<10))
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	defer r.Release()
	for r.Next() {
		if err := pass(r.RecordBatch()); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}

// groups are the file groups of the part, in order.
func (p *importPart) groups() []bucketID {
	var out []bucketID
	for id := range p.seen {
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b bucketID) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.bucket, b.bucket))
	})
	return out
}

func (s *importSpill) close() {
	for _, p := range s.parts {
		if p.file != nil {
			_ = p.file.Close() // it is gone then
		}
	}
}

// data is the data columns.
func (r *importRows) data(schema *arrow.Schema) arrow.RecordBatch {
	return array.NewRecordBatch(schema, r.batch.Columns()[:int(r.batch.NumCols())-importExtra], r.batch.NumRows())
}

func (r *importRows) group(row int) bucketID {
	return bucketID{r.paths.Value(row), int(r.batch.Column(int(r.batch.NumCols()) - 2).(*array.Int32).Value(row))}
}

func (r *importRows) file(row int) int32 {
	return r.batch.Column(int(r.batch.NumCols()) - 1).(*array.Int32).Value(row)
}
