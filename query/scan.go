//go:build cgo && !nosql

package query

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"slices"
	"sync"
	"unsafe"

	"lakefeed/hudi"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/duckdb/duckdb-go/mapping"
)

// DuckDB asks for a table in three steps. It binds each mention of the table in the
// query, to know the columns (lfBind); it starts a scan, for the columns that the query
// needs (lfInit); its threads take the rows of the scan, a chunk at a time (lfFill). A
// mention may be scanned several times, so everything that moves belongs to the scan.

// binding is one mention of a table in a query. It does not change.
type binding struct {
	db       *DB
	name     string
	relation *Relation
	fields   []arrow.Field // in the order in which DuckDB knows them
	filter   hudi.Filter   // what the query can use
}

// scan is one pass over a relation.
type scan struct {
	bound   *binding
	columns []int // of the batches, for each vector that DuckDB wants; -1: none, only rows count
	batches chan arrow.RecordBatch
	err     error // that ended the reader; read it once batches is closed
	stop    context.CancelFunc

	mu   sync.Mutex // guards rest
	rest arrow.RecordBatch
}

//export lfDrop
func lfDrop(handle C.uintptr_t) {
	h := cgo.Handle(handle)
	if s, ok := h.Value().(*scan); ok {
		s.close()
	}
	h.Delete()
}

//export lfBind
func lfBind(info unsafe.Pointer, db C.uintptr_t) {
	bind := mapping.BindInfo{Ptr: info}
	b, err := cgo.Handle(db).Value().(*DB).bind(bind)
	if err == nil {
		err = b.addColumns(bind)
	}
	if err != nil {
		b.db.fail(err)
		mapping.BindSetError(bind, err.Error())
		return
	}
	mapping.BindSetCardinality(bind, mapping.IdxT(max(b.relation.Rows, 0)), false)
	C.lf_set_bind_data(info, C.uintptr_t(cgo.NewHandle(b)))
}

// bind finds the table of a call of read_hudi. It returns a binding with an error, too.
func (db *DB) bind(info mapping.BindInfo) (*binding, error) {
	name := mapping.BindGetParameter(info, 0)
	defer mapping.DestroyValue(&name)
	b := &binding{db: db, name: text(name)}
	if n, ok := db.viewOf(b.name); ok {
		v := db.views[n]
		b.name, b.relation, b.fields, b.filter = v.name, v.relation, cheapFirst(v.relation.Schema.Fields()), db.wanted[n]
		return b, nil
	}
	ref := Ref{Name: b.name, Function: true}
	for arg, to := range map[string]*string{"as_of": &ref.AsOf, "changes_from": &ref.From, "changes_to": &ref.To} {
		v := mapping.BindGetNamedParameter(info, arg)
		if v.Ptr != nil {
			*to = text(v)
			mapping.DestroyValue(&v)
		}
	}
	r, err := db.opts.Lookup(db.context(), ref)
	if errors.Is(err, ErrNoTable) {
		err = &SQLError{fmt.Sprintf("read_hudi(%q): %v", ref.Name, err)}
	}
	if err != nil {
		return b, err
	}
	b.relation, b.fields = r, r.Schema.Fields()
	return b, nil
}

// cheapFirst moves the column in front that costs least to read: it is the one that
// DuckDB asks for where only the number of rows matters.
func cheapFirst(fields []arrow.Field) []arrow.Field {
	at, least := 0, 0
	for i, f := range fields {
		if t, ok := f.Type.(arrow.FixedWidthDataType); ok && (least == 0 || t.BitWidth() < least) {
			at, least = i, t.BitWidth()
		}
	}
	rest := slices.Delete(slices.Clone(fields), at, at+1)
	return append([]arrow.Field{fields[at]}, rest...)
}

func text(v mapping.Value) string {
	if v.Ptr == nil || mapping.IsNullValue(v) {
		return ""
	}
	return mapping.GetVarchar(v)
}

func (b *binding) addColumns(info mapping.BindInfo) error {
	for _, f := range b.fields {
		t, err := logicalType(f.Type)
		if err != nil {
			return fmt.Errorf("column %s of %s: %w", f.Name, b.name, err)
		}
		mapping.BindAddResultColumn(info, f.Name, t)
		mapping.DestroyLogicalType(&t)
	}
	return nil
}

//export lfInit
func lfInit(info unsafe.Pointer, bound C.uintptr_t) {
	init := mapping.InitInfo{Ptr: info}
	b := cgo.Handle(bound).Value().(*binding)
	s := &scan{bound: b, batches: make(chan arrow.RecordBatch, 1)}
	names := s.project(init)
	mapping.InitSetMaxThreads(init, mapping.IdxT(b.db.threads))
	s.start(names)
	C.lf_set_init_data(info, C.uintptr_t(cgo.NewHandle(s)))
}

// project notes which columns DuckDB wants, and names those to read.
func (s *scan) project(info mapping.InitInfo) []string {
	fields := s.bound.fields
	var names []string
	for i := range mapping.InitGetColumnCount(info) {
		at := mapping.InitGetColumnIndex(info, i)
		if at >= mapping.IdxT(len(fields)) { // a row's number, whose value nobody looks at
			s.columns = append(s.columns, -1)
			continue
		}
		s.columns = append(s.columns, len(names))
		names = append(names, fields[at].Name)
	}
	if len(names) == 0 {
		names = []string{fields[0].Name}
	}
	return names
}

// start reads the relation in a goroutine of its own, a batch ahead.
func (s *scan) start(names []string) {
	ctx, stop := context.WithCancel(s.bound.db.context())
	s.stop = stop
	s.bound.db.readers.Go(func() {
		defer close(s.batches)
		for batch, err := range s.bound.relation.Read(ctx, Scan{names, s.bound.filter}) {
			if err != nil {
				s.err = fmt.Errorf("read %s: %w", s.bound.name, err)
				return
			}
			batch.Retain()
			select {
			case s.batches <- batch:
			case <-ctx.Done():
				batch.Release()
				s.err = ctx.Err()
				return
			}
		}
	})
}

// next is the next rows, at most as many as a chunk takes; nil at the end.
func (s *scan) next() (arrow.RecordBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.rest == nil || s.rest.NumRows() == 0 {
		s.release()
		batch, more := <-s.batches
		if !more {
			return nil, s.err
		}
		s.rest = batch
	}
	n := min(s.rest.NumRows(), int64(mapping.VectorSize()))
	part, rest := s.rest.NewSlice(0, n), s.rest.NewSlice(n, s.rest.NumRows())
	s.release()
	s.rest = rest
	return part, nil
}

func (s *scan) release() {
	if s.rest != nil {
		s.rest.Release()
		s.rest = nil
	}
}

//export lfFill
func lfFill(info unsafe.Pointer, of C.uintptr_t, out unsafe.Pointer) {
	s := cgo.Handle(of).Value().(*scan)
	if err := s.fill(mapping.DataChunk{Ptr: out}); err != nil {
		s.bound.db.fail(err)
		mapping.FunctionSetError(mapping.FunctionInfo{Ptr: info}, err.Error())
	}
}

func (s *scan) fill(out mapping.DataChunk) error {
	batch, err := s.next()
	if err != nil || batch == nil {
		mapping.DataChunkSetSize(out, 0)
		return err
	}
	defer batch.Release()
	for i, at := range s.columns {
		if at < 0 {
			continue
		}
		if err := fill(mapping.DataChunkGetVector(out, mapping.IdxT(i)), batch.Column(at)); err != nil {
			return fmt.Errorf("column %s of %s: %w", batch.ColumnName(at), s.bound.name, err)
		}
	}
	mapping.DataChunkSetSize(out, mapping.IdxT(batch.NumRows()))
	return nil
}

// close ends the reader and lets go of what it had read.
func (s *scan) close() {
	s.stop()
	for batch := range s.batches {
		batch.Release()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}
