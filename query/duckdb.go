//go:build cgo && !nosql

package query

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/cgo"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"lakefeed/hudi"

	"github.com/duckdb/duckdb-go/mapping"
)

// Supported tells whether this build can run queries.
const Supported = true

// DB runs queries, one at a time.
type DB struct {
	opts    Options
	threads int
	temp    string // the folder that Close removes, "" if it is the caller's
	db      mapping.Database
	conn    mapping.Connection
	handle  cgo.Handle
	readers sync.WaitGroup // of the query's scans
	views   []view
	wanted  map[int]hudi.Filter // what the query can use of each view
	ours    bool                // while a statement of ours runs within a query
	changed bool                // a statement of the caller's that is no query has run: names and settings may be others

	mu      sync.Mutex      // guards what follows
	ctx     context.Context //nolint:containedctx // of the query that runs: DuckDB's threads call back without one
	failure error           // of a table, which DuckDB passes on as text only
	busy    bool
}

// Open makes a database without tables.
func Open(ctx context.Context, opts Options) (_ *DB, err error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("open SQL: %w", err)
	}
	opts.setDefaults()
	db := &DB{opts: opts, threads: opts.Threads, ctx: ctx}
	if db.threads == 0 {
		db.threads = runtime.GOMAXPROCS(0)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open SQL: %w", err), db.Close())
		}
	}()
	if err := db.open(); err != nil {
		return nil, err
	}
	db.handle = cgo.NewHandle(db)
	if C.lf_register(db.conn.Ptr, C.uintptr_t(db.handle)) != 0 {
		return nil, errors.New("DuckDB does not take the function read_hudi")
	}
	return db, db.settle()
}

// settings are DuckDB's, as it starts.
func (db *DB) settings() (map[string]string, error) {
	s := map[string]string{
		"memory_limit":             strconv.FormatInt(db.opts.Memory>>10, 10) + "KiB",
		"threads":                  strconv.Itoa(db.threads),
		"preserve_insertion_order": "false", // tables have none
		"temp_directory":           db.opts.TempDir,
	}
	if db.opts.TempDir == "" {
		dir, err := os.MkdirTemp("", "lakefeed-query-")
		if err != nil {
			return nil, fmt.Errorf("make a folder to spill to: %w", err)
		}
		db.temp, s["temp_directory"] = dir, filepath.Join(dir, "spill")
	}
	if !db.opts.AllowExternal {
		s["autoload_known_extensions"] = "false"
		s["autoinstall_known_extensions"] = "false"
	}
	return s, nil
}

func (db *DB) open() error {
	settings, err := db.settings()
	if err != nil {
		return err
	}
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		return errors.New("DuckDB makes no configuration")
	}
	defer mapping.DestroyConfig(&config)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if mapping.SetConfig(config, name, settings[name]) == mapping.StateError {
			return fmt.Errorf("DuckDB does not take %s = %q", name, settings[name])
		}
	}
	var message string
	if mapping.OpenExt(":memory:", &db.db, config, &message) == mapping.StateError {
		return errors.New(message)
	}
	if mapping.Connect(db.db, &db.conn) == mapping.StateError {
		return errors.New("DuckDB does not connect")
	}
	return nil
}

// settle makes times show in UTC, and no statement change a setting from here on.
func (db *DB) settle() error {
	statements := []string{"SET TimeZone = 'UTC'"}
	if !db.opts.AllowExternal {
		// Only now: without external access no place to spill to can be named.
		statements = append(statements, "SET enable_external_access = false", "SET lock_configuration = true")
	}
	for _, s := range statements {
		if err := db.do(s); err != nil {
			return err
		}
	}
	return nil
}

// do runs a statement of ours.
func (db *DB) do(statement string) error {
	r, err := db.run(statement)
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	r.destroy()
	return nil
}

// Close ends the database. The results of its queries must not be used any more.
func (db *DB) Close() error {
	if db.conn.Ptr != nil {
		mapping.Disconnect(&db.conn)
	}
	if db.db.Ptr != nil {
		mapping.Close(&db.db)
	}
	db.readers.Wait()
	if db.handle != 0 {
		db.handle.Delete()
		db.handle = 0
	}
	if db.temp == "" {
		return nil
	}
	if err := os.RemoveAll(db.temp); err != nil {
		return fmt.Errorf("close SQL: %w", err)
	}
	return nil
}

// Query starts a query: one statement, SELECT or what DuckDB counts as such (WITH,
// FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE), or EXPLAIN. Its rows come as they are
// computed. Until its result is read to the end or closed, another query is refused.
// A mistake in the query is an [*SQLError]; an error of a table that it reads is that
// error.
func (db *DB) Query(ctx context.Context, sql string) (*Result, error) {
	db.mu.Lock()
	if db.busy {
		db.mu.Unlock()
		return nil, errors.New("a query is running: close its result first")
	}
	db.ctx, db.failure, db.busy = ctx, nil, true
	db.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { mapping.Interrupt(db.conn) })
	r, err := db.query(ctx, sql)
	if err != nil {
		stop()
		db.ended()
		return nil, err
	}
	r.stop = stop
	return r, nil
}

func (db *DB) query(ctx context.Context, sql string) (*Result, error) {
	db.wanted = db.filters(sql)
	r, err := db.run(sql)
	for err != nil { // it stops at the first name that it misses
		found, lerr := db.addMissing(ctx, err, sql)
		if lerr != nil {
			return nil, lerr
		}
		if !found {
			return nil, db.cause(err)
		}
		db.wanted = db.filters(sql)
		r, err = db.run(sql)
	}
	if err := r.open(); err != nil {
		r.destroy()
		return nil, err
	}
	return r, nil
}

// run prepares and starts a statement.
func (db *DB) run(sql string) (*Result, error) {
	var list mapping.ExtractedStatements
	n := mapping.ExtractStatements(db.conn, sql, &list)
	defer mapping.DestroyExtracted(&list)
	switch {
	case n == 0 && mapping.ExtractStatementsError(list) != "":
		return nil, &SQLError{mapping.ExtractStatementsError(list)}
	case n != 1:
		return nil, &SQLError{fmt.Sprintf("want one statement, got %d", n)}
	}
	var stmt mapping.PreparedStatement
	state := mapping.PrepareExtractedStatement(db.conn, list, 0, &stmt)
	defer mapping.DestroyPrepare(&stmt)
	if state == mapping.StateError {
		return nil, &SQLError{mapping.PrepareError(stmt)}
	}
	if err := db.allows(stmt); err != nil {
		return nil, err
	}
	r := &Result{db: db}
	var message *C.char
	if C.lf_execute(stmt.Ptr, &r.result, &message) != 0 {
		defer C.free(unsafe.Pointer(message))
		return nil, &SQLError{C.GoString(message)}
	}
	return r, nil
}

// allows refuses a statement that is no query, once the database is set up.
func (db *DB) allows(stmt mapping.PreparedStatement) error {
	switch mapping.PreparedStatementType(stmt) {
	case mapping.StatementTypeSelect, mapping.StatementTypeExplain, mapping.StatementTypeRelation:
		if n := mapping.NParams(stmt); n > 0 {
			return &SQLError{fmt.Sprintf("the query has %d parameters: write their values", n)}
		}
		return nil
	default:
		if !db.running() {
			return nil
		}
		if db.opts.AllowExternal {
			db.changed = true
			return nil
		}
		return &SQLError{"only queries run here: SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN"}
	}
}

// running tells a caller's statement from one of ours.
func (db *DB) running() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.busy && !db.ours
}

func (db *DB) context() context.Context {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.ctx
}

// fail keeps the first error of a table.
func (db *DB) fail(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.failure == nil {
		db.failure = err
	}
}

// cause is the error behind one of DuckDB's.
func (db *DB) cause(err error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.ctx.Err() != nil:
		return fmt.Errorf("query: %w", db.ctx.Err())
	case db.failure != nil:
		return db.failure
	}
	return err
}

func (db *DB) ended() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.busy = false
}

// quote is a name as SQL takes it.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
