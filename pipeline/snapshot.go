package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// An incremental snapshot reads the rows of a table that meet a condition anew, or some of their columns, while
// the stream goes on, and puts them into the table in order with it: see docs/adr/0022. snapshot_run.go reads
// them, window.go puts them in their place.

// Snapshot is an incremental snapshot that is to be made, as the record
// <lake>/_lakefeed/snapshots/<pipeline> keeps it until it was.
type Snapshot struct {
	ID      string    `json:"id"`                // of the signal that asked for it, or one that was made up
	Table   string    `json:"table"`             // source name
	Where   string    `json:"where"`             // which rows, in the source's own language; empty, with Columns: all
	Columns []string  `json:"columns,omitempty"` // source names of those that are read; none: all
	Asked   time.Time `json:"asked"`
	Paused  bool      `json:"paused,omitempty"`
}

// attrs are what the log says of it.
func (s *Snapshot) attrs(more ...any) []any {
	list := []any{"table", s.Table, "where", s.Where}
	if len(s.Columns) > 0 {
		list = append(list, "columns", strings.Join(s.Columns, ","))
	}
	return append(list, more...)
}

// SnapshotState is what became of an incremental snapshot.
type SnapshotState string

// The states of an incremental snapshot.
const (
	SnapshotWaiting SnapshotState = "waiting"
	SnapshotReading SnapshotState = "reading"
	SnapshotPaused  SnapshotState = "paused"
	SnapshotDone    SnapshotState = "done"
	SnapshotFailed  SnapshotState = "failed" // Error says why
	SnapshotStopped SnapshotState = "stopped"
)

// SnapshotStatus is a table's newest incremental snapshot in a [TableStatus].
type SnapshotStatus struct {
	ID      string        `json:"id"`
	Where   string        `json:"where"`
	Columns []string      `json:"columns,omitempty"`
	State   SnapshotState `json:"state"`
	Rows    int64         `json:"rows"`               // that were read so far
	LeftOut int64         `json:"left_out,omitempty"` // of Rows, those that are not in the lake, so that some columns are not written
	Error   string        `json:"error,omitempty"`
	Again   time.Time     `json:"again_at,omitzero"` // with Error: when it is tried again, by itself
}

// snapshotRecord is what the lake has of a pipeline's incremental snapshots.
type snapshotRecord struct {
	Snapshots []Snapshot  `json:"snapshots"` // in the order in which they are made
	Signals   *signalMark `json:"signals,omitempty"`
}

func (r *snapshotRecord) none() bool { return len(r.Snapshots) == 0 && r.Signals == nil }

func snapshotsName(pipeline string) string { return "_lakefeed/snapshots/" + folderName(pipeline) }

func readSnapshots(ctx context.Context, lake storage.Store, pipeline string) (*snapshotRecord, error) {
	r := new(snapshotRecord)
	b, _, err := lake.Get(ctx, snapshotsName(pipeline))
	switch {
	case errors.Is(err, storage.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("read which rows are to be read anew: %w", &LakeError{err})
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read which rows are to be read anew: %w; remove the file, and ask for them again", &hudi.CorruptError{File: snapshotsName(pipeline), Err: err})
	}
	return r, nil
}

func (r *snapshotRecord) write(ctx context.Context, lake storage.Store, pipeline string) error {
	err := error(nil)
	if r.none() {
		if err = lake.Delete(ctx, snapshotsName(pipeline)); errors.Is(err, storage.ErrNotExist) {
			err = nil
		}
	} else {
		err = putJSON(ctx, lake, snapshotsName(pipeline), r)
	}
	if err != nil {
		return fmt.Errorf("note which rows are to be read anew: %w", &LakeError{err})
	}
	return nil
}

// CheckSnapshot sees that rows of a table can be read anew by a condition, or some columns of them, and be told
// apart in the lake. A condition that cannot be used is a *[change.ConditionError], such a column a *[ColumnError].
func CheckSnapshot(ctx context.Context, src Source, table, where string, columns ...string) error {
	_, err := snapshotTable(ctx, src, table, where, columns)
	return err
}

// snapshotTable is the table, as the source's catalogs have it.
func snapshotTable(ctx context.Context, src Source, table, where string, columns []string) (*change.Table, error) {
	look, err := src.Look(ctx)
	if err != nil {
		return nil, &sourceError{err}
	}
	i := slices.IndexFunc(look.Tables, func(v *change.Table) bool { return v.String() == table })
	if i < 0 {
		return nil, errGone
	}
	v := look.Tables[i]
	if v.KeyKind == change.NoKey {
		return nil, &noKeyError{v}
	}
	if err := checkColumns(v, columns); err != nil {
		return nil, err
	}
	if where == "" && len(columns) > 0 {
		return v, nil
	}
	if err := src.CheckWhere(ctx, v, where); err != nil {
		return nil, &sourceError{err}
	}
	return v, nil
}

// noKeyError is a table of which single rows cannot be read anew.
type noKeyError struct{ table *change.Table }

func (e *noKeyError) Error() string {
	return fmt.Sprintf("some rows or columns of %s cannot be read anew: it lands append-only (%s), so that its rows cannot be told apart, and would be in the lake twice; copy the table anew as a whole (without a condition or columns)", e.table, e.table.Note)
}

// RequestSnapshot leaves an incremental snapshot to the next process that runs a pipeline which
// nobody runs; one that does is a *[LockedError]. [CheckSnapshot] should have taken it.
func RequestSnapshot(ctx context.Context, lake storage.Store, pipeline, table, where string, columns ...string) (Snapshot, error) {
	lock, err := acquire(ctx, lake, pipeline, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return Snapshot{}, err
	}
	defer func() { _ = lock.release(context.WithoutCancel(ctx)) }() // it goes stale by itself
	key, err := streamOf(ctx, lake, pipeline, table)
	if err != nil {
		return Snapshot{}, err
	}
	r, err := readSnapshots(ctx, lake, key)
	if err != nil {
		return Snapshot{}, err
	}
	s := newSnapshot(table, where, columns)
	r.Snapshots = append(r.Snapshots, s)
	return s, r.write(ctx, lake, key)
}

func newSnapshot(table, where string, columns []string) Snapshot {
	return Snapshot{ID: uuid.NewString(), Table: table, Where: where, Columns: columns, Asked: time.Now().UTC()}
}

// Snapshot asks for an incremental snapshot while the pipeline runs: the lake has noted it when this
// returns, and it is made as soon as those before it are. With columns only these are written, into the rows that
// the lake has, of all rows where there is no condition.
func (p *Pipeline) Snapshot(ctx context.Context, table, where string, columns ...string) (Snapshot, error) {
	if !p.knows(table, Resync) {
		return Snapshot{}, fmt.Errorf("%s %s: the pipeline has no such table: names are as `lakefeed status` prints them, and an entry of `tables` in the configuration has to take it", Resync, table)
	}
	if err := CheckSnapshot(ctx, p.opts.Source, table, where, columns...); err != nil {
		return Snapshot{}, fmt.Errorf("%s %s: %w", Resync, table, err)
	}
	s := newSnapshot(table, where, columns)
	err := p.incremental.change(ctx, p, func(r *snapshotRecord) { r.Snapshots = append(r.Snapshots, s) })
	if err != nil {
		return s, err
	}
	p.log.Info("rows are to be read anew", s.attrs("id", s.ID)...)
	p.steered()
	return s, nil
}

// incremental is the pipeline's incremental snapshots.
type incremental struct {
	window atomic.Pointer[window] // of the one that is made; nil: none is

	writing sync.Mutex // held while the record is changed
	mu      sync.Mutex // guards what follows
	record  snapshotRecord
	once    map[string]bool // those that a run with Once is to make
	running string          // the ID of the one that is made
	signal  *SignalStatus   // the newest

	// What the writer of rounds alone knows.
	tries map[string]snapshotTry // those that are tried again, by ID

	signals []change.Signal // that are written and not obeyed yet: the lake does not take it
	told    bool            // of that
}

// recallSnapshots reads what was asked before.
func (p *Pipeline) recallSnapshots(ctx context.Context) error {
	r, err := readSnapshots(ctx, p.opts.Lake, p.opts.key())
	if err != nil {
		return err
	}
	p.incremental.mu.Lock()
	defer p.incremental.mu.Unlock()
	p.incremental.record = *r
	return nil
}

// showSnapshots lets the status say what is to be made, and Once wait for it.
func (p *Pipeline) showSnapshots() {
	inc := &p.incremental
	list := inc.list()
	once := map[string]bool{}
	for _, s := range list {
		t := p.targetNamed(s.Table)
		if t == nil {
			continue
		}
		p.showWaiting(t, s)
		if p.opts.Once && p.opts.Until == 0 && !s.Paused {
			once[s.ID] = true
			p.chunked.Add(1)
		}
	}
	inc.mu.Lock()
	defer inc.mu.Unlock()
	inc.once = once
}

// list is what is to be made.
func (i *incremental) list() []Snapshot {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.record.Snapshots)
}

// change changes what is to be made, in the lake first.
func (i *incremental) change(ctx context.Context, p *Pipeline, fn func(*snapshotRecord)) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	i.mu.Lock()
	r := i.record
	i.mu.Unlock()
	r.Snapshots = slices.Clone(r.Snapshots)
	fn(&r)
	err := r.write(ctx, p.opts.Lake, p.opts.key())
	if err == nil {
		i.mu.Lock()
		i.record = r
		i.mu.Unlock()
	}
	return err
}

// settled lets Once end, as far as this snapshot is concerned.
func (i *incremental) settled(p *Pipeline, id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.once[id] {
		delete(i.once, id)
		p.chunked.Add(-1)
	}
}

// showSnapshot lets the status say what becomes of a snapshot.
func (p *Pipeline) showSnapshot(t *target, s Snapshot, st SnapshotStatus) {
	st.ID, st.Where, st.Columns = s.ID, s.Where, s.Columns
	if s.Paused && st.State == SnapshotWaiting {
		st.State = SnapshotPaused
	}
	t.report(func(s *TableStatus) { s.Snapshot = &st })
}
