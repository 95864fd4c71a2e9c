package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// BucketsKey is the extra-metadata key under which each commit says how many hash
// buckets the table has. It is the name of Spark's write option: Hudi itself keeps
// the number nowhere.
const BucketsKey = "hoodie.bucket.index.num.buckets"

// TxnOptions describe a transaction.
type TxnOptions struct {
	// Operation that the commit records; default Upsert.
	Operation Operation
	// Schema of the data columns from this transaction on; nil: as before. What of them
	// may change while the files of before stay, docs/schema-evolution.md says; an
	// [InsertOverwriteTable] may change all but the columns of keys, ordering and
	// partitions. Another change is a [SchemaError].
	Schema *arrow.Schema
	// Buckets is the number that the caller divides rows by; 0: it asks [Txn.Buckets]. A
	// table that has got another number since is a [ConflictError].
	Buckets int
	// TakeOver makes another table of one that other writers kept; nil: it stays as it is.
	TakeOver *TakeOver

	replace *replacement // for transactions that lay rows out anew
}

// Txn is a transaction: readers see all of it once Commit returns, or nothing. It
// holds the table until Commit or Abort; one of them must be called: one that is forgotten
// keeps all writers off, those of other processes too unless they are told
// [Concurrency].Exclusive, for as long as this process lives.
//
// It goes through these steps, in the order that Hudi's readers and Hudi's own
// rollback rely on:
//
//  1. hoodie.properties and the timeline are read again; what a crashed writer left
//     is rolled back (write_rollback.go).
//  2. The requested and then the inflight file of a new instant are created. A writer that
//     knows of no other decides on the first in the table's claim (claim.go).
//  3. For each data file a marker is created first (write_marker.go), then the file:
//     a base file (write_base.go) or a log file (write_log.go). A marker without its
//     file is harmless; a file without a marker could not be found again.
//  4. hoodie.properties and the instant's own two files are looked at once more, and what
//     other writers did meanwhile: with a lock that they share, under it (concurrency.go),
//     else where the claim was another's since.
//  5. The claim is replaced by one that says what the completed file will hold. From this
//     moment on the commit is decided: should the process die, the next writer puts the file.
//  6. The completed file is created, at once and whole (write_commit.go). From this moment
//     on readers see the commit.
//  7. The markers are deleted.
type Txn struct {
	table    *Table
	op       Operation
	asked    int64               // requests of the table before it began
	time     string              // the instant's
	files    [3]timeline.Instant // requested, inflight, completed
	token    string              // last two parts of the write tokens
	timeline *timeline.Timeline  // as it began
	beat     *heartbeat          // nil with a single writer
	busy     map[GroupID]string  // what services are about to rewrite, by conflict key, and their instants

	schema   *arrow.Schema // data columns
	full     *arrow.Schema // with the meta columns
	avro     string
	fullAvro string

	typ     TableType     // of the table
	had     int           // hash buckets till now
	count   int           // of them from this transaction on
	before  *arrow.Schema // the table's schema till now, with the meta columns
	replace *replacement  // nil but where rows are laid out anew
	becomes Properties    // of a table that is taken over, what is changed of its own; else nil

	mu      sync.Mutex                    // guards what follows
	buckets map[string]map[int]*FileSlice // of the partitions asked for, the slice of each bucket that has one
	opened  map[bucketID]bool
	found   map[string]map[string]*FileSlice // of the partitions asked for, the slices that are not open, by file id
	groups  []*GroupWriter
	dropped []string         // partitions that the commit deletes
	placed  placed           // for the index of keys
	looked  map[string]bool  // partitions where keys were looked for
	encoder *logfile.Encoder // nil till a log file is begun
	ended   bool
}

// bucketID names a bucket, which is a file group or will be one.
type bucketID struct {
	partition string
	bucket    int
}

func (b bucketID) String() string {
	if b.partition == "" {
		return fmt.Sprintf("bucket %d", b.bucket)
	}
	return fmt.Sprintf("bucket %d of partition %s", b.bucket, b.partition)
}

// Begin starts a transaction. It first rolls back what a crashed writer left. While
// another transaction or service of this Table runs, it waits.
func (t *Table) Begin(ctx context.Context, opts TxnOptions) (*Txn, error) {
	if err := t.lock(ctx); err != nil {
		return nil, err
	}
	asked := t.requests.Total()
	x, err := t.begin(ctx, opts)
	if err != nil {
		t.unlock()
		return nil, fmt.Errorf("begin transaction on %s: %w", t.name, err)
	}
	x.asked = asked
	t.release(ctx)
	return x, nil
}

func (t *Table) begin(ctx context.Context, opts TxnOptions) (*Txn, error) {
	if opts.replace == nil && opts.TakeOver == nil { // before anything is prepared for it
		if err := t.props.checkMerging(); err != nil {
			return nil, cmp.Or(t.checkServable(t.props), err)
		}
	}
	if err := t.prepareFor(ctx, opts); err != nil {
		return nil, err
	}
	if t.index() == nil {
		return nil, t.noIndex()
	}
	x := &Txn{
		table: t, op: opts.Operation, timeline: t.timeline, typ: t.typ, had: t.buckets, count: t.buckets,
		buckets: map[string]map[int]*FileSlice{}, opened: map[bucketID]bool{},
		found: map[string]map[string]*FileSlice{}, replace: opts.replace,
	}
	if x.op == "" {
		x.op = Upsert
	}
	if opts.Buckets != 0 && opts.Buckets != t.buckets {
		return nil, &ConflictError{Reason: fmt.Sprintf("it has %d buckets, no longer %d", t.buckets, opts.Buckets)}
	}
	if x.replace != nil {
		x.count = cmp.Or(x.replace.buckets, x.count)
	}
	if opts.TakeOver != nil {
		if err := x.takeOver(*opts.TakeOver); err != nil {
			return nil, err
		}
	}
	if err := x.setSchema(ctx, opts.Schema); err != nil {
		return nil, err
	}
	if err := x.findBusy(ctx); err != nil {
		return nil, err
	}
	action := timeline.Commit
	switch {
	case x.op.replaces():
		action = timeline.ReplaceCommit
	case t.typ == MergeOnRead:
		action = timeline.DeltaCommit
	}
	if err := x.start(ctx, action); err != nil {
		return nil, err
	}
	return x, nil
}

// prepareFor is prepare for a transaction of any kind.
func (t *Table) prepareFor(ctx context.Context, opts TxnOptions) error {
	if opts.TakeOver != nil {
		return t.prepareTakeOver(ctx, *opts.TakeOver)
	}
	return t.prepare(ctx)
}

// setSchema takes on the transaction's schema.
func (x *Txn) setSchema(ctx context.Context, next *arrow.Schema) (err error) {
	x.schema, x.avro, x.before = x.table.schema, x.table.avro, x.table.full
	if next != nil {
		avro, err := schema.FromArrow(x.table.name, next)
		if err != nil {
			return fmt.Errorf("take on schema: %w", err)
		}
		if next, err = schema.ToArrow(avro); err != nil {
			return fmt.Errorf("take on schema: %w", err)
		}
		if err := x.evolve(ctx, next); err != nil {
			return err
		}
		if !x.schema.Equal(next) {
			x.schema, x.avro = next, avro
		}
	}
	x.full = schema.ArrowWithMeta(x.schema)
	x.fullAvro, err = schema.WithMeta(x.avro)
	return err
}

// slices are the file slices that the table, or some of its partitions (nil: all),
// had till now. While the transaction holds the table nothing else changes its view.
func (x *Txn) slices(partitions []string) []*FileSlice {
	x.table.mu.RLock()
	defer x.table.mu.RUnlock()
	return x.table.view.slices(x.timeline, "", partitions)
}

// bucketSlice is the file slice of a bucket, nil if it has none or it is replaced.
func (x *Txn) bucketSlice(id bucketID) (*FileSlice, error) {
	if x.op.replaces() {
		return nil, nil //nolint:nilnil // a bucket without a slice is as good as one with it
	}
	found := x.buckets[id.partition]
	if found == nil {
		found = map[int]*FileSlice{}
		for _, s := range x.slices([]string{id.partition}) {
			bucket, err := x.table.bucketOf(s.FileID)
			if err != nil {
				return nil, err
			}
			if other := found[bucket]; other != nil {
				return nil, fmt.Errorf("it has two file groups, %s and %s", other.FileID, s.FileID)
			}
			found[bucket] = s
		}
		x.buckets[id.partition] = found
	}
	return found[id.bucket], nil
}

// replaced are the file ids that the commit replaces, by partition.
func (x *Txn) replaced() map[string][]string {
	if x.replace != nil {
		return x.replace.groupIDs()
	}
	out := map[string][]string{}
	if x.table.partition.depth() == 0 {
		out[""] = nil
	}
	var partitions []string // nil: all
	if x.op != InsertOverwriteTable {
		partitions = append([]string{}, x.dropped...)
		for _, g := range x.groups {
			partitions = append(partitions, g.id.Partition)
		}
	}
	for _, s := range x.slices(partitions) {
		out[s.Partition] = append(out[s.Partition], s.FileID)
	}
	return out
}

// Buckets is the number of hash buckets of the table that the transaction writes.
func (x *Txn) Buckets() int { return x.count }

// Instant names the transaction on the timeline.
func (x *Txn) Instant() string { return x.time }

// Schema is that of the data columns that the transaction writes.
func (x *Txn) Schema() *arrow.Schema { return x.schema }

// Group opens the writer of the file group of a bucket in a partition, "" where the
// table has none. Writers of several buckets may be used at the same time; there is one
// for each bucket, opened once.
func (x *Txn) Group(ctx context.Context, partition string, bucket int) (*GroupWriter, error) {
	id := bucketID{partition, bucket}
	g, err := x.openBucket(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open %s of %s: %w", id, x.table.name, err)
	}
	return g, nil
}

func (x *Txn) openBucket(ctx context.Context, id bucketID) (*GroupWriter, error) {
	if id.bucket < 0 || id.bucket >= x.count {
		return nil, fmt.Errorf("there are %d buckets", x.count)
	}
	if err := x.table.partition.check(id.partition); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return nil, errEnded
	}
	if x.opened[id] {
		return nil, errors.New("it was opened in this transaction already: a file group is written once in it")
	}
	if err := x.checkBusy(id); err != nil {
		return nil, err
	}
	slice, err := x.bucketSlice(id)
	if err != nil {
		return nil, err
	}
	if err := x.checkStart(ctx, id, slice); err != nil {
		return nil, err
	}
	x.opened[id] = true
	group := GroupID{id.partition, newBucketFileID(id.bucket)}
	return x.openGroup(group, slice, id.String()), nil
}

// openGroup makes the writer of a file group that has a slice, or of a new one of that
// id. Who calls it holds x.mu, and calls it once for each group.
func (x *Txn) openGroup(id GroupID, slice *FileSlice, name string) *GroupWriter {
	number := len(x.groups)
	g := &GroupWriter{txn: x, id: id, slice: slice, name: name, number: number, token: strconv.Itoa(number) + "-" + x.token}
	switch {
	case slice == nil:
		g.out = &baseOut{group: g}
	case x.table.typ == CopyOnWrite:
		g.id = slice.Group()
		g.out = &baseOut{group: g, changed: map[basefile.KeyHash]mark{}}
	default:
		g.id = slice.Group()
		g.out = &logOut{group: g}
	}
	x.groups = append(x.groups, g)
	return g
}

var errEnded = errors.New("the transaction has ended")

// checkStart refuses to go on from a bucket without a base file where commits wrote one.
func (x *Txn) checkStart(ctx context.Context, id bucketID, slice *FileSlice) error {
	var found []*FileSlice
	switch {
	case x.op.replaces() || slice != nil && slice.Base != nil:
		return nil // it needs none, or a merge will look
	case slice != nil:
		found = append(found, slice)
	}
	_, err := x.table.checkFiles(ctx, x.timeline, found, checkScope{partitions: []string{id.partition}, buckets: []int{id.bucket}})
	return err
}

// GroupWriter writes one file group of a transaction. It is used by one goroutine at
// a time.
type GroupWriter struct {
	txn    *Txn
	id     GroupID
	slice  *FileSlice // nil for a new file group
	name   string     // for people
	number int        // in the transaction
	token  string     // write token of its file
	out    groupOut   // nil once it is closed: a transaction may write many groups
	seq    int64      // rows written, for their sequence numbers
	err    error      // that broke the writer
	closed bool
	file   *DataFile // what was written, if anything
	stat   timeline.WriteStat
}

// groupOut is how a group's changes are stored: base files or logs. Rows have the
// meta columns, and deletes are those that matter to the group.
type groupOut interface {
	upsert(ctx context.Context, rows arrow.RecordBatch, keys *array.String) error
	delete(ctx context.Context, keys []string) error
	close(ctx context.Context) error
	abandon()
	// fileName is what _hoodie_file_name says of the rows.
	fileName() string
}

// Upsert writes rows, which replace those of the same keys that the table had. Rows
// have the table's data columns by name, in any order; missing ones are null, others a
// *[SchemaError]. Keys are the rows' record keys. Over all calls in a transaction a key
// comes at most once, but for a [GroupWriter.Delete] before. Text that is not UTF-8 is a
// *[RowError].
// What a call brings may be written at once: memory stays bounded.
func (g *GroupWriter) Upsert(ctx context.Context, rows arrow.RecordBatch, keys *array.String) error {
	return g.upsert(ctx, rows, keys, true)
}

// upsert is Upsert, of rows that are fresh or that the table had: its texts may be another writer's.
func (g *GroupWriter) upsert(ctx context.Context, rows arrow.RecordBatch, keys *array.String, fresh bool) error {
	if int(rows.NumRows()) != keys.Len() || keys.NullN() > 0 {
		return fmt.Errorf("upsert into %s: %d rows and %d keys, %d of them null", g, rows.NumRows(), keys.Len(), keys.NullN())
	}
	return g.do(ctx, "upsert into", func() error {
		if keys.Len() == 0 {
			return nil
		}
		data, err := conformAll(ctx, rows, g.txn.schema)
		if err != nil {
			return err
		}
		defer data.Release()
		if fresh {
			if err := checkText(data, keys); err != nil {
				return err
			}
		}
		full := g.withMeta(data, keys)
		defer full.Release()
		g.txn.notePlaced(g.id.Partition, keys)
		return g.out.upsert(ctx, full, keys)
	})
}

// Delete removes the rows of keys; a key that the table does not have is no error. A row of
// a key that is deleted may come behind that in the transaction, and stays.
func (g *GroupWriter) Delete(ctx context.Context, keys []string) error {
	return g.do(ctx, "delete from", func() error {
		if len(keys) == 0 {
			return nil
		}
		g.txn.noteGone(g.id.Partition, keys)
		if g.slice == nil {
			return nil // a new file group has nothing to delete
		}
		return g.out.delete(ctx, keys)
	})
}

// String names the group for people.
func (g *GroupWriter) String() string { return g.name }

// Close ends the group's part of the transaction. Without it, Commit fails.
func (g *GroupWriter) Close(ctx context.Context) error {
	if g.closed {
		return g.err
	}
	err := g.do(ctx, "close", func() error { return g.out.close(ctx) })
	g.closed = true
	if err != nil {
		g.out.abandon()
	}
	g.out = nil
	return err
}

// do runs a step unless an earlier one failed: a writer that lost a part of its
// input must not be committed.
func (g *GroupWriter) do(ctx context.Context, verb string, step func() error) error {
	switch {
	case g.err != nil:
		return g.err
	case g.closed:
		return fmt.Errorf("%s %s: its writer is closed", verb, g)
	}
	err := ctx.Err()
	if err == nil {
		err = step()
	}
	if err != nil {
		g.err = fmt.Errorf("%s %s of %s: %w", verb, g, g.txn.table.name, err)
	}
	return g.err
}

// withMeta puts the meta columns in front of rows of the table's schema.
func (g *GroupWriter) withMeta(data arrow.RecordBatch, keys *array.String) arrow.RecordBatch {
	n := keys.Len()
	columns := make([]arrow.Array, metaCount, metaCount+data.NumCols())
	columns[metaCommitTime] = column.Repeat(g.txn.time, n)
	columns[metaSeqno] = seqnos(g.txn.time, g.number, g.seq, n)
	columns[metaPartition] = column.Repeat(g.id.Partition, n)
	columns[metaFileName] = column.Repeat(g.out.fileName(), n)
	g.seq += int64(n)
	defer func() { column.Release(columns[:metaCount]) }()
	keys.Retain()
	columns[metaKey] = keys
	return array.NewRecordBatch(g.txn.full, append(columns, data.Columns()...), int64(n))
}
