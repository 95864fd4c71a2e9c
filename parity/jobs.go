package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Read says what of a table to read. The zero value is the snapshot.
type Read struct {
	Mode       string   // snapshot, read_optimized, as_of or incremental; empty: as the instants below say
	AsOf       string   // an instant
	Begin, End string   // instants of an incremental read; Begin is exclusive
	NoMeta     bool     // leave out the _hoodie_ columns
	MDT        string   // "true" or "false": read by the metadata table or not, Spark only
	Where      []string // a column, an operator as = or >=, and a value's text: rows for which that holds
	ListAll    bool     // list all partitions before Where is looked at, Spark only
}

// Read returns a table's rows, a folder's or, by its s3:// URL, a bucket's, sorted by partition path and record key.
func (e *Engine) Read(ctx context.Context, table string, r Read) ([]string, error) {
	job, err := e.job("read", table)
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{"mode": r.Mode, "as_of": r.AsOf, "begin": r.Begin, "end": r.End, "mdt": r.MDT} {
		if v != "" {
			job[k] = v
		}
	}
	job["no_meta"] = r.NoMeta
	if r.Where != nil {
		job["where"], job["list_all"] = r.Where, r.ListAll
	}
	if e.hudi == "" {
		job["engine"] = "rs"
	}
	var rows []string
	return rows, e.do(ctx, job, &rows)
}

// Report is what Check found.
type Report struct {
	Version    string // the table's version
	Type       string // COPY_ON_WRITE or MERGE_ON_READ
	Steps      []Step
	Mismatches []string // empty when every way to read agreed
}

// Step is one way to read the table.
type Step struct {
	Step  string
	Rows  int
	Error string
}

// Check reads a copy of the table in every way that Spark and hudi-rs have and
// compares the answers. Spark only.
func (e *Engine) Check(ctx context.Context, table string) (*Report, error) {
	job, err := e.sparkJob("check", table)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	return r, e.do(ctx, job, r)
}

// Options are Hudi's write options by name. Whatever hoodie.properties already
// says is taken from there.
type Options map[string]string

// Write runs an operation (upsert, insert, bulk_insert or delete) of canonical JSON
// rows on the table. Columns that a row does not name become null. Spark only.
func (e *Engine) Write(ctx context.Context, table, op string, rows []string, opts Options) error {
	return e.write(ctx, table, op, rows, opts, nil)
}

// WriteExactly is Write with no options but these, the operation and, if they do not
// name the table, its name. An option that is "" is left out; one that begins with spark.hadoop.
// is set in the session while the job runs. Spark only.
func (e *Engine) WriteExactly(ctx context.Context, table, op string, rows []string, opts Options) error {
	return e.write(ctx, table, op, rows, opts, map[string]any{"exact": true})
}

// WriteInZone is WriteExactly in a JVM whose time zone is another than UTC, by its name. Spark only.
func (e *Engine) WriteInZone(ctx context.Context, zone, table, op string, rows []string, opts Options) error {
	return e.write(ctx, table, op, rows, opts, map[string]any{"exact": true, "zone": zone})
}

// Make has Spark make a table of rows, with the columns of a schema in Spark's words, as
// "id string, n int", and with no options but these and the operation. Spark only.
func (e *Engine) Make(ctx context.Context, table, schema, op string, rows []string, opts Options) error {
	return e.write(ctx, table, op, rows, opts, map[string]any{"schema": schema})
}

func (e *Engine) write(ctx context.Context, table, op string, rows []string, opts Options, more map[string]any) error {
	job, err := e.writeJob(table, more["schema"] != nil)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lakefeed-rows-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	job["op"], job["rows"], job["opt"] = op, file, opts
	maps.Copy(job, more)
	var ignored json.RawMessage
	return e.do(ctx, job, &ignored)
}

// Service runs a table service: compact, schedule_compact, cluster, clean, archive
// or validate_mdt. Spark only.
func (e *Engine) Service(ctx context.Context, table, what string, opts Options) error {
	job, err := e.sparkJob("service", table)
	if err != nil {
		return err
	}
	job["what"], job["opt"] = what, opts
	var ignored json.RawMessage
	return e.do(ctx, job, &ignored)
}

// SQL runs a statement in which {t} stands for the table and {path} for its folder,
// with options SET before it and reset behind it, and returns its rows. Naming {t}
// registers the table in Spark's catalog, which rewrites its hoodie.properties. The table
// may be "", and the statement make one. Spark only.
func (e *Engine) SQL(ctx context.Context, table, statement string, opts Options) ([]string, error) {
	job := map[string]any{"cmd": "sql", "table": ""}
	if table != "" || e.hudi == "" {
		var err error
		if job, err = e.sparkJob("sql", table); err != nil {
			return nil, err
		}
	}
	job["sql"], job["opt"] = statement, opts
	var rows []string
	return rows, e.do(ctx, job, &rows)
}

// LockFile is the text that Hudi's own storage lock writes of what it reads in one,
// from Hudi 1.1 on. Spark only.
func (e *Engine) LockFile(ctx context.Context, table, text string) (string, error) {
	job, err := e.sparkJob("lock", table)
	if err != nil {
		return "", err
	}
	job["text"] = text
	var out string
	return out, e.do(ctx, job, &out)
}

// TakeLock takes the lock that the options of a write name, as that would, and tells whether
// it was free within a time. Spark only.
func (e *Engine) TakeLock(ctx context.Context, table string, opts Options, within time.Duration) (bool, error) {
	job, err := e.sparkJob("take_lock", table)
	if err != nil {
		return false, err
	}
	job["opt"], job["wait_ms"] = opts, within.Milliseconds()
	var taken bool
	return taken, e.do(ctx, job, &taken)
}

// ReleaseLock gives back the lock that the last TakeLock took. Spark only.
func (e *Engine) ReleaseLock(ctx context.Context) error {
	var ignored json.RawMessage
	return e.do(ctx, map[string]any{"cmd": "release_lock"}, &ignored)
}

// writeJob writes to a table that is there or, where it is to be made, to none.
func (e *Engine) writeJob(table string, makes bool) (map[string]any, error) {
	if !makes || strings.HasPrefix(table, "s3://") {
		return e.sparkJob("write", table)
	}
	path, err := filepath.Abs(table)
	return map[string]any{"cmd": "write", "table": path}, err
}

func (e *Engine) job(cmd, table string) (map[string]any, error) {
	if strings.HasPrefix(table, "s3://") {
		return e.bucketJob(cmd, table)
	}
	path, err := filepath.Abs(table)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(path, ".hoodie")); err != nil {
		return nil, fmt.Errorf("not a Hudi table: %w", err)
	}
	return map[string]any{"cmd": cmd, "table": path}, nil
}

// bucketJob is a job on a table in a bucket, by its URL as storage/all takes it, with an
// endpoint; the credentials are those of the environment.
func (e *Engine) bucketJob(cmd, table string) (map[string]any, error) {
	u, err := url.Parse(table)
	if err != nil {
		return nil, err
	}
	job := map[string]any{"cmd": cmd, "s3": map[string]string{
		"endpoint": u.Query().Get("endpoint"), "region": os.Getenv("AWS_REGION"),
		"access_key": os.Getenv("AWS_ACCESS_KEY_ID"), "secret_key": os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}}
	u.RawQuery = ""
	if e.hudi != "" {
		u.Scheme = "s3a"
	}
	job["table"] = u.String()
	return job, nil
}

func (e *Engine) sparkJob(cmd, table string) (map[string]any, error) {
	if e.hudi == "" {
		return nil, errors.New("hudi-rs only reads")
	}
	return e.job(cmd, table)
}
