// Package query runs SQL over Hudi tables, in the process, by DuckDB.
//
// [Open] makes an empty database in memory, whose tables are found by name when a
// query asks for them. A [Relation] is such a table: its rows stream into the query as
// Arrow batches, only the columns that the query uses, without files and pages that its
// WHERE rules out, and anew for each scan, so that a self-join is right and a table may be larger than memory. [FromTable] is the
// relation of a Hudi table, as of now or of an instant.
//
//	db, err := query.Open(ctx, query.Options{Lookup: lookup})
//	defer db.Close()
//	result, err := db.Query(ctx, "SELECT city, count(*) FROM public.customers GROUP BY city")
//	for batch, err := range result.Batches() { ... }
//
// A query reads only: SQL reaches neither files nor the network unless
// [Options.AllowExternal] says so.
//
// DuckDB is C++ and comes as a static library, so this is the one package that needs
// cgo. In a program that is built without it (CGO_ENABLED=0, or the build tag nosql)
// Open returns [ErrNoSQL], and everything else works.
//
// # Files
//
//   - query.go, what a caller sees; table.go, relations of Hudi tables
//   - duckdb.go, a query from its text to its batches; names.go, the tables that it names
//   - pushdown.go and constant.go, the conditions of a query on one table
//   - scan.go, DuckDB's side of a relation; vector.go and types.go, from Arrow to DuckDB
//   - result.go, from DuckDB to Arrow
//   - shim.c: the few calls that the Go binding lacks; nosql.go: without cgo
package query

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"lakefeed/hudi"

	"github.com/apache/arrow-go/v18/arrow"
)

var (
	// ErrNoSQL says that the program was built without DuckDB.
	ErrNoSQL = errors.New("this build has no SQL: it was made without cgo (build it with CGO_ENABLED=1, a C and a C++ compiler, and without the tag nosql)")
	// ErrNoTable is what a Lookup returns for a name that is no table.
	ErrNoTable = errors.New("no such table")
)

// Relation is a table as a query sees it.
type Relation struct {
	// Schema of the columns, as the query may name them.
	Schema *arrow.Schema
	// Rows is about how many rows there are, for the planner; 0: not known.
	Rows int64
	// Read streams the rows of a scan. It may be called several times for a query, maybe
	// by several at a time, and each time yields the same rows. A batch is used until the
	// next step of the iteration.
	Read func(ctx context.Context, scan Scan) iter.Seq2[arrow.RecordBatch, error]
}

// Scan is what a query wants to have of a table.
type Scan struct {
	// Columns of the batches, some of the relation's, in this order.
	Columns []string
	// Filter is true of all rows that matter: others may be left out, and need not be.
	// The zero value is true of all.
	Filter hudi.Filter
}

// Ref is how a query names a table.
type Ref struct {
	// Name is as the query has it without quotes: "orders", "public.orders", or the
	// argument of read_hudi, which may be a path or URL.
	Name string
	// Function tells read_hudi('name') from a table's plain name.
	Function bool
	// AsOf, From and To are the arguments of read_hudi of those names (as_of,
	// changes_from, changes_to); "": not given.
	AsOf, From, To string
}

// Options are how queries run. The zero value works, without tables.
type Options struct {
	// Lookup finds the table of a name, or returns [ErrNoTable].
	Lookup func(ctx context.Context, ref Ref) (*Relation, error)
	// Memory bounds what DuckDB holds, in bytes; default 1 GiB. Sorts, joins and
	// aggregates beyond it go to TempDir. The batches in flight come on top.
	Memory int64
	// TempDir is where such a query spills to; default: a folder of its own, which
	// Close removes.
	TempDir string
	// Threads that a query may use; default: as many as the machine has.
	Threads int
	// AllowExternal lets SQL read and write files and the network, load extensions and
	// change settings. Without it, a query can do nothing but read the tables.
	AllowExternal bool
}

func (o *Options) setDefaults() {
	if o.Lookup == nil {
		o.Lookup = func(context.Context, Ref) (*Relation, error) { return nil, ErrNoTable }
	}
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
}

// Validate tells what is wrong with the options, naming the field.
func (o *Options) Validate() error {
	const least = 32 << 20 // DuckDB runs with less, but not far
	switch {
	case o.Memory != 0 && o.Memory < least:
		return fmt.Errorf("memory %d: at least %d bytes", o.Memory, least)
	case o.Threads < 0:
		return fmt.Errorf("threads %d: must not be negative", o.Threads)
	}
	return nil
}

// SQLError is a mistake in a query, as DuckDB tells it.
type SQLError struct {
	Message string
}

// Error is DuckDB's message.
func (e *SQLError) Error() string { return e.Message }
