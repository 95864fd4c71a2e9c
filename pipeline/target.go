package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// target is one table of the lake and the source table that it follows.
type target struct {
	name    string // source name
	shard   string // whose rows they are; "": there are no shards
	shared  *sharedTable
	gate    *gate // of the shard's own, nil: there is none
	source  *change.Table
	path    string
	options TableOptions
	store   storage.Store

	// settled says what the source need not keep its log for: a folder that is not
	// ours, or a table that lacks changes which the source has forgotten. Only a new copy helps it.
	settled bool
	opened  bool        // its folder was read: at says how far it is
	table   *hudi.Table // nil until it was opened or made
	at      checkpoint  // what its newest commit covers; LSN 0: its first copy is to be made
	had     change.LSN  // what the record says that its newest commit covered
	covered change.LSN  // at.LSN when streaming began: changes before it are in the table already

	partitions []partitionColumn // how its rows are laid out in the lake; none: all in one folder
	landing    *arrow.Schema     // of a copy that takes the place of all rows in one commit; nil: as the table's
	mine       bool              // the record says that a commit of this pipeline was in its folder

	quarantine *quarantine // rows that it cannot hold
	filled     fillSize

	// What keeps it from being written: aside.go.
	segments      []segment       // its changes in the spool, oldest first
	expected      change.LSN      // where they end at least, as the record says
	spooledLast   change.Mark     // the newest transaction that these were written from, at the start
	spooledSource change.Identity // the log that it is of
	safe          change.LSN      // the lake or the spool hold every change of it before this
	trouble       *trouble
	recopy        *recopy
	paused        bool
	resumed       bool        // somebody asked to try it again
	gaveUp        time.Time   // the order whose copy failed for good
	obeyed        time.Time   // the order whose copy was made
	stage         *stage      // what is copied of it already: its changes are in the spool since then
	staged        atomic.Bool // the lake may have a stage of it
	stagedBuckets int         // that the stage is for; 0: the size decides
	overflown     atomic.Bool // the spool was full since its copy began
	job           bool        // a goroutine of its own has it
	held          bool        // the spool was full: the source keeps what is behind safe
	copied        change.LSN  // the snapshot of its newest copy, as the last job or the start left it; of one that was not read, where such a copy is of no use
	ahead         bool        // its newest copy shows more than has been read of the log
	noted         *stopNote   // it waited for a new copy, and could not be read since
	lost          bool        // what the spool has of it is of no use
	inOrder       bool        // changes of it are kept in the order of the log, whatever is done with them

	leaves  *leafSet // the partitions in the source that it accounts for; nil: none, or not known
	emptied emptiedAt
	shed    *shed // what is to be taken away of partitions that are gone

	stranger bool // the record does not follow it: what the lake has of it lacks what was done since
	received bool // it was handed over by the slot that had it before: see Group
	adopted  bool // its newest commit was written through another slot
	foreign  bool // its folder holds a table of another job, which is to be taken over

	accept *Acceptance   // what a person took on of its schema
	schema *schemaRecord // nil until it is needed
	shows  *met          // how a copy that runs takes it
	aside  atomic.Bool

	mu        sync.Mutex        // guards what follows
	published *change.Published // how it was published when it was taken; nil: not known
	dropped   bool              // its changes are of no use: only a new copy helps it, or the source keeps them
	status    TableStatus
	waiting   []int64 // commit time of the first change of each round that is not in the lake, Unix microseconds
}

// report changes the target's status.
func (t *target) report(fn func(*TableStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(&t.status)
}

func (t *target) drop()   { t.setDropped(true) }
func (t *target) undrop() { t.setDropped(false) }

func (t *target) setDropped(dropped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped = dropped
}

// isDropped reports whether changes of the table are passed over.
func (t *target) isDropped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// number is the source's own for the table.
func (t *target) number() uint32 { return t.source.ID }

func (t *target) setPublished(v *change.Published) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.published = v
}

func (t *target) howPublished() *change.Published {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.published
}

func (t *target) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.State == Failed
}

// fail stops the table: the others go on, and the spool keeps what it lacks. Of one that
// only a new copy helps nothing is kept; where the policy says so, that copy is made.
func (p *Pipeline) fail(t *target, err error) {
	if waits, ok := errors.AsType[*SchemaWaitError](err); ok {
		p.hold(t, waits.Error(), waits.version)
		return
	}
	if _, unfit := errors.AsType[*FrozenValueError](err); unfit && t.at.LSN != 0 {
		p.hold(t, err.Error()+": have the type taken on with `lakefeed schema apply`", "")
		return
	}
	if o := p.orderOf(t.name); o.Held != "" && t.at.LSN != 0 && t.at.TableID != t.source.ID {
		p.wait(t, o.Why) // another table has its name, which is why: whatever is decided, it is copied anew
		return
	}
	if noted, ok := errors.AsType[*notedError](err); ok {
		if noted.Recopy {
			p.recopy(t, err.Error())
			return
		}
		t.settled, t.lost = true, true
	}
	if errors.Is(err, errNoCopy) {
		p.recopy(t, err.Error())
		return
	}
	why, isAnew := errors.AsType[*AnewError](err)
	if isAnew && p.recopies(t, why) {
		p.recopy(t, why.What)
		t.recopy.next = p.copyAfter(t)
		t.recopy.counts = why.Schema
		return
	}
	t.settled = t.settled || isAnew
	if t.settled || !t.mayHaveCopy() { // all of it comes from its copy
		t.drop()
		t.lost = t.lost || isAnew
		if !t.settled && p.passes(err) {
			wait := p.after(0)
			t.recopy = &recopy{why: "its first copy failed", wait: wait, next: time.Now().Add(wait)}
		}
	} else {
		if t.stranger { // so it does here, whatever the lake has
			t.drop()
		}
		t.trouble = &trouble{err: err, passes: p.passes(err), wait: p.after(0)}
		t.trouble.next = time.Now().Add(t.trouble.wait)
	}
	p.stop(t, err)
}

// stop tells of a table that stopped.
func (p *Pipeline) stop(t *target, err error) {
	p.log.Error("table stopped", "table", t.name, "error", err)
	since := p.noteStop(t.name, err)
	t.report(func(s *TableStatus) { s.State, s.Error, s.Since = Failed, err.Error(), since })
	p.failures.Store(t.name, err)
}

// openTargets looks at every table of the source and at its folder in the lake.
func (p *Pipeline) openTargets(ctx context.Context, tables []*change.Table, record *progress) {
	p.folders = p.opts.knownFolders()
	if record != nil {
		maps.Copy(p.folders, record.Folders)
	}
	paths := tablePaths(tables, p.opts.Table, p.folders)
	p.keepFolders(tables, paths)
	targets := make([]*target, len(tables))
	for i, s := range tables {
		targets[i] = p.targetAt(s, paths[i])
	}
	p.setTargets(targets)
	for _, t := range targets {
		if err := p.openTarget(ctx, t, record); err != nil {
			if !t.settled {
				err = ofLake(err)
			}
			p.fail(t, err)
		}
	}
}

// targetAt is the target of a table of the source at a folder of the lake.
func (p *Pipeline) targetAt(s *change.Table, path string) *target {
	t := &target{name: s.String(), source: s, path: path, store: storage.Sub(p.opts.Lake, path)}
	if p.opts.Table != nil {
		t.options = p.opts.Table(s)
	}
	if t.options.Type == "" {
		t.options.Type = hudi.MergeOnRead
	}
	t.status = TableStatus{Table: t.name, Path: t.path, Type: string(t.options.Type), State: Waiting, Estimate: s.RowsEstimate}
	for _, k := range s.Key {
		t.status.Key = append(t.status.Key, s.Columns[k].Name)
	}
	if s := p.opts.Shards; s != nil {
		t.shard, t.shared, t.gate = ShardOf(p.opts.Name), s.table(t.path), p.gate
		t.store = storage.Sub(s.gate, path)
		t.shared.attach(t)
	}
	t.quarantine = p.newQuarantine(t)
	return t
}

// newTarget is the target of a table that comes to the others.
func (p *Pipeline) newTarget(s *change.Table) *target {
	var tables []*change.Table
	for _, t := range p.all() {
		tables = append(tables, t.source)
	}
	paths := tablePaths(append(tables, s), p.opts.Table, p.folders)
	path := paths[len(paths)-1]
	p.keepFolders([]*change.Table{s}, []string{path})
	return p.targetAt(s, path)
}

// keepFolders notes the folders that are not the configuration's choice.
func (p *Pipeline) keepFolders(tables []*change.Table, paths []string) {
	if p.folders == nil {
		p.folders = map[string]string{}
	}
	for i, t := range tables {
		if p.opts.Table == nil || p.opts.Table(t).Path == "" {
			p.folders[t.String()] = paths[i]
		}
	}
}

// openTarget opens the table's folder, where there is one, rolls back what a
// crash left in it, and reads its checkpoint. A table without a commit is what an
// interrupted copy left, if the record says that a copy was to be made.
func (p *Pipeline) openTarget(ctx context.Context, t *target, record *progress) error {
	if record != nil {
		t.had = record.Commits[t.name]
		t.mine = t.had != 0
		_, noted := record.Stopped[t.name]
		t.stranger = !noted && !record.follows(t.name)
		if was, ok := record.Published[t.name]; ok {
			t.setPublished(&was)
		}
	}
	p.receive(t, record)
	return p.openTable(ctx, t, t.mine || record.follows(t.name))
}

// openTable is openTarget for a table that was followed, or not.
func (p *Pipeline) openTable(ctx context.Context, t *target, followed bool) error {
	if t.shared != nil { // what is unfinished in it is nobody's then
		release, err := t.takeTurn(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	return p.openFolder(ctx, t, followed)
}

// openHudi opens the table in the target's folder, which shards share.
func (p *Pipeline) openHudi(ctx context.Context, t *target) (*hudi.Table, error) {
	options, err := p.hudiOptions(t)
	if err != nil {
		return nil, err
	}
	if t.shared != nil {
		return t.shared.open(ctx, t, options)
	}
	return hudi.Open(ctx, t.store, options)
}

func (p *Pipeline) openFolder(ctx context.Context, t *target, followed bool) error {
	table, err := p.openHudi(ctx, t)
	if errors.Is(err, hudi.ErrNoTable) && p.takesOver(t) {
		return p.foreignFolder(ctx, t)
	}
	if errors.Is(err, hudi.ErrNoTable) {
		t.opened, t.had, t.mine = true, 0, false // removed for a new copy
		t.table, t.at = nil, checkpoint{}
		return t.quarantine.open(ctx, 0)
	}
	if err != nil {
		return damaged(err)
	}
	at, err := readCheckpoint(ctx, table, p.opts.Name)
	if err != nil {
		return damaged(err)
	}
	if at == nil && p.takesOver(t) {
		return p.foreignFolder(ctx, t)
	}
	if at == nil {
		t.table = table
		if foreign := len(table.Timeline().Completed()) > 0 || !followed; foreign && !t.ofShards() {
			t.table = nil
			t.settled = true
			return fmt.Errorf("folder %s holds a Hudi table that Lakefeed did not make, or whose commits by Lakefeed another writer archived (it needs hoodie.archive.automatic=false): no checkpoint is in its commits; `lakefeed adopt` takes a table of another job over; give the table another path, or move that table away, for a new copy", t.store)
		}
		t.opened, t.table = true, table
		return t.quarantine.open(ctx, 0)
	}
	if p.comesFrom(t, at) {
		return p.foreignFolder(ctx, t)
	}
	if !t.job {
		t.copied = at.Copied
	}
	p.adopt(t, at)
	if err := p.owns(t, at); err != nil {
		t.settled = true
		return err
	}
	if done, err := table.FinishTakeOver(ctx); err != nil {
		return fmt.Errorf("finish to take over %s: %w", t.store, err)
	} else if done {
		return p.openFolder(ctx, t, followed)
	}
	t.foreign = false
	if err := samePartitions(t.name, at.Partitions, t.options.PartitionBy); err != nil {
		return err // the source keeps what it lacks until the configuration is mended
	}
	t.partitions = at.Partitions
	if at.LSN < t.had {
		t.settled = true
		return anew("%s holds changes up to %s and held them up to %s before: somebody rolled commits back or put an older copy in its place, and the source has forgotten what is missing", t.store, at.LSN, t.had)
	}
	t.at = *at
	if err := p.recallLeaves(ctx, t); err != nil {
		return err
	}
	pending := len(table.Timeline().Pending()) > 0
	if err := table.Recover(ctx); err != nil {
		return fmt.Errorf("get %s ready to be written: %w", t.store, err)
	}
	if pending { // a rollback perhaps, which somebody's command did not live to end
		now, err := readCheckpoint(ctx, table, p.opts.Name)
		if err != nil {
			return damaged(err)
		}
		if now == nil || now.LSN != at.LSN || now.Copied != at.Copied {
			return p.openFolder(ctx, t, followed)
		}
	}
	if err := t.quarantine.open(ctx, at.LSN); err != nil {
		return err
	}
	t.opened, t.table = true, table
	t.report(func(s *TableStatus) {
		s.Checkpoint, s.Instant, s.Type = at.LSN.String(), newestInstant(table), string(table.Type())
	})
	return nil
}

// newestInstant is the newest commit of a table that has some, a compaction perhaps:
// those before it may be cleaned away.
func newestInstant(t *hudi.Table) string {
	done := t.Timeline().Completed()
	return done[len(done)-1].Time
}

// damaged adds the way out to a file of the lake that cannot be read.
func damaged(err error) error {
	if _, ok := errors.AsType[*hudi.CorruptError](err); !ok {
		return err
	}
	return fmt.Errorf("%w; put back a copy of that file, or %s", err, CopyAnew)
}

// owns checks that a table's checkpoint is this pipeline's, of this source and table.
func (p *Pipeline) owns(t *target, at *checkpoint) error {
	if at.Pipeline != p.opts.Name || at.Table != t.name {
		return fmt.Errorf("folder %s belongs to table %s of pipeline %s: give one of them another path", t.store, at.Table, at.Pipeline)
	}
	_, err := p.past.shared("the table in "+t.store.String(), at.Source)
	return err
}

func (p *Pipeline) hudiOptions(t *target) (hudi.Options, error) {
	o := hudi.Options{Logger: p.log.With("table", t.name), Hook: p.opts.OnPhase, Services: &hudi.ServicesOptions{}, Concurrency: alone} // see serve
	if s := p.opts.Shards; s != nil {
		o = s.options(t.name)
	}
	if len(t.options.PartitionBy) > 0 && t.source.KeyKind != change.NoKey {
		keys, err := p.keyStore(t)
		if err != nil {
			return o, err
		}
		o.Keys = keys
	}
	return o, nil
}

// makeTable makes the table's folder, or takes the one that an interrupted copy left.
func (p *Pipeline) makeTable(ctx context.Context, t *target, buckets int) (err error) {
	if t.shared != nil {
		return p.joinTable(ctx, t, buckets)
	}
	return p.createTable(ctx, t, buckets)
}

func (p *Pipeline) createTable(ctx context.Context, t *target, buckets int) error {
	if t.table != nil { // made, but its copy never committed, or of rows that no copy can take the place of
		if err := t.stage.noteRemoved(ctx, t); err != nil {
			return err
		}
		if err := removeCopy(ctx, t.store); err != nil {
			return fmt.Errorf("remove what an interrupted copy left in %s: %w", t.store, err)
		}
		t.table, t.at = nil, checkpoint{}
	}
	options, err := p.hudiOptions(t)
	if err != nil {
		return err
	}
	return p.createIn(ctx, t, t.store, buckets, options)
}

// createIn makes the table that a copy lands in, somewhere.
func (p *Pipeline) createIn(ctx context.Context, t *target, store storage.Store, buckets int, options hudi.Options) (err error) {
	shown := t.landsAs()
	if t.partitions, err = newPartitions(shown, t.options.PartitionBy); err != nil {
		return err
	}
	if options.Buckets = buckets; options.Keys != nil {
		options.Index = hudi.IndexGlobalKey
	}
	// A first copy has a writer open for every bucket, each with a row group in the making.
	options.RowGroupBytes = min(max(p.opts.MemoryBudget/2/int64(buckets), 256<<10), 16<<20)
	table, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: tableName(t.source), Type: t.options.Type,
		Schema: newSchema(shown, p.opts.LeanColumns, t.partitions), RecordKey: recordKey(shown),
		PartitionBy: lakeColumns(t.partitions), HiveStyle: len(t.partitions) > 0, URLEncode: len(t.partitions) > 0,
		OrderingField: colLSN, Options: options,
	})
	if err != nil {
		return fmt.Errorf("make table in %s: %w", store, err)
	}
	t.table = table
	return nil
}

// removeCopy empties a table's folder, its properties last: as long as they are there,
// the rest is known for what it is.
func removeCopy(ctx context.Context, store storage.Store) error {
	for info, err := range store.List(ctx, "", true) {
		if err != nil {
			return err
		}
		if info.Name == propertiesFile {
			continue
		}
		if err := store.Delete(ctx, info.Name); err != nil {
			return err
		}
	}
	return store.DeleteAll(ctx, "")
}

const propertiesFile = ".hoodie/hoodie.properties"

// tableName is the name that the table's properties and schema carry.
func tableName(t *change.Table) string { return columnName(t.Name) }

// firstBuckets is how many buckets a new table gets, as far as that is known before it is
// copied: of a partitioned one the copy tells how many partitions share its rows.
func (t *target) firstBuckets() int {
	switch {
	case t.stagedBuckets > 0:
		return t.stagedBuckets
	case t.options.Buckets > 0:
		return t.options.Buckets
	case len(t.options.PartitionBy) > 0:
		return 1
	}
	return bucketsFor(t.source.Bytes)
}

// bucketsFor chooses how many buckets a table gets for its size in the source:
// one for every 128 MiB of heap, since a base file is about a third of that and
// the table will grow.
func bucketsFor(bytes int64) int {
	const perBucket = 128 << 20
	return int(min(max((bytes+perBucket-1)/perBucket, 1), 9999))
}

// commit notes that the table's newest commit covers at.
func (t *target) committed(at checkpoint, instant string, rows int64) {
	t.at = at
	t.report(func(s *TableStatus) {
		s.Checkpoint, s.Instant, s.CommitTime = at.LSN.String(), instant, time.Now().UTC()
		s.Type = string(t.table.Type()) // somebody may have converted it
		s.Rows += rows
		s.Error, s.Since = "", time.Time{}
		if s.State != Failed && s.State != CatchingUp {
			s.State = Streaming
		}
	})
}

// next is the checkpoint of the table's next commit, up to lsn, by the columns of the
// version that is met; last is the newest transaction that was read.
func (p *Pipeline) next(m *met, lsn change.LSN, last change.Mark) checkpoint {
	t := m.t
	c := t.at
	if last.Commit > c.Last.Commit && last.Commit < lsn {
		c.Last = last
	}
	c.First, c.Partitions = 0, t.partitions
	c.Pipeline, c.Table, c.Path, c.Source, c.From, c.LSN = p.opts.Name, t.name, t.path, p.source, t.at.LSN, lsn
	if p.opts.Shards != nil {
		c.Writer, c.shared = p.opts.Shards.o.Name, true
	}
	m.describe(&c)
	return c
}
