// Package pipeline keeps the tables of a lake in step with one source, exactly once.
//
// [Pipeline.Run] is the story on one page. A round is whole transactions, bounded
// in bytes and time (batch.go); what does not fit in memory is spilled (spill.go).
// For every table of the round the changes are reduced to one a key (reduce.go),
// values that the source did not send are filled in (fill.go), the columns become
// the table's (convert.go), and one commit carries rows and checkpoint together
// (write.go, checkpoint.go). Only then the source may forget (Ack). Round N+1 is
// captured while round N is written.
//
// The package knows a [Source] by its interface, never a database.
package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/storage"
)

// Options say what a pipeline reads, where it lands and within which bounds.
type Options struct {
	Name   string        // of the pipeline; names its lock and progress record in the lake
	Source Source        // owned by the caller, who closes it after Run
	Lake   storage.Store // rooted at lake.url

	// Table says how a source table lands; nil: defaults for all.
	Table func(t *change.Table) TableOptions

	Interval     time.Duration // commit interval, default 10s
	MaxRows      int64         // a round closes at this many changes, default 1,000,000
	MaxBytes     int64         // ... or this many bytes of changes, or three eighths of MemoryBudget; default 64 MiB
	MemoryBudget int64         // bytes of changes held in memory over all rounds, default 128 MiB; what is beyond is spilled
	SpillDir     string        // default: a folder under os.TempDir, removed at the end
	IndexDir     string        // for the partitions of keys, which it keeps; default: SpillDir, without it lakefeed in os.UserCacheDir
	Spool        storage.Store // where changes of tables that cannot be written are kept; nil: in the lake, under _lakefeed/spool
	SpoolBytes   int64         // beyond so many in it the source keeps the log instead; 0: no bound
	WALBudget    WALBudget     // how much log the source may keep, and what is done about it
	LeanColumns  bool          // leave out the extra columns but _event_lsn

	CompactAfter  int // delta commits before a merge-on-read table is compacted inline, default 10
	RetainCommits int // commits whose files the cleaner keeps, default 10

	// A table's timeline is archived down to ArchiveKeepMin writes as soon as it has more
	// than ArchiveKeepMax, so that a commit's cost stays flat. Default 50, or more where
	// RetainCommits asks for it, and twice ArchiveKeepMin.
	ArchiveKeepMin, ArchiveKeepMax int

	Once   bool       // copy what is missing, drain to a message sent at the start, commit, return nil
	Until  change.LSN // with Once: drain exactly to this position instead (every transaction whose commit starts before it, none after)
	Listen string     // address of this process's server, written into the lock so that others find it; may be empty

	// Retryable says which errors of the source pass by themselves; nil: none.
	// Without Once such an error is followed by another try.
	Retryable func(error) bool
	// RetryTable says which errors that stopped a table pass by themselves; nil: none.
	// Without Once such a table is tried again after a while.
	RetryTable func(error) bool

	// Recopy says whether a table that only a new copy helps gets one by itself, beside the
	// stream; nil: none does.
	Recopy func(t *change.Table, why *AnewError) bool

	// Remake says that a slot which is lost, or gone from the source, is made anew by itself,
	// and all tables are copied anew; else the run ends, and [ResyncAll] asks for it.
	Remake bool

	Bootstrap Bootstrap // how large tables are copied

	Observer Observer                                 // told of commits; may be nil
	Logger   *slog.Logger                             // silent when nil
	OnPhase  func(phase string)                       // called as work enters a phase: copy, capture, reduce, marker, data file, log append, publish, ack, rollback, compaction, clean; for crash tests
	Progress func(table string, rows, estimate int64) // first copy: rows so far; may be nil

	// Shards is what the pipeline shares with those of other databases whose tables land in the
	// same tables; nil: it shares none. Name is that of all, a dot and the shard's then, and Source
	// that of [NewShardSource].
	Shards *Shards

	part *part // of a pipeline whose tables several slots share: see [Group]; nil: there is one
}

// TableOptions say how one table lands.
type TableOptions struct {
	Path    string         // folder under the lake; default <schema>/<table>, cleaned
	Type    hudi.TableType // default merge-on-read
	Buckets int            // in each partition; default: by the size of the source table, and the number of partitions
	// PartitionBy lays the rows into folders; none: all lie in the table's. A table keeps
	// the partitions that it was made with.
	PartitionBy []PartitionField
	// Schema says what becomes of changes of its schema.
	Schema SchemaOptions
}

// Observer is called with figures as they arise; metrics are made of them. All
// methods may be called concurrently.
type Observer interface {
	Committed(table string, rows int64, took time.Duration, latency time.Duration) // latency: source commit to lake commit, newest change
}

// writers is how many tables are written at once.
const writers = 4

// Pipeline is one source and its tables.
type Pipeline struct {
	opts     Options
	log      *slog.Logger
	source   change.Identity
	past     ancestry          // of the source's log
	folders  map[string]string // given to tables, by source name
	last     change.Mark       // the newest transaction that the lake was written from
	spillDir string            // of this run
	keys     *keyindex.DB      // nil until a partitioned table is opened
	control  chan request
	spool    *spool
	written  change.LSN      // up to where the rounds of this session were written
	journal  map[string]bool // tables whose changes are to be kept in the order of the log
	wake     chan struct{}   // somebody asks something of the writer
	opening  sync.Mutex      // held while keys are
	ordering sync.Mutex      // held while orders are changed

	mu         sync.Mutex // guards what follows, but for failures
	targets    []*target
	byName     map[string]*target
	newcomers  []string                 // tables that came to the source and are not taken in yet
	fresh      map[string]*change.Table // what is known of them
	seen       map[string]bool          // tables that the last look saw; nil: it has been taken in
	byNumber   map[uint32]*target
	orders     map[string]Order // what is asked for tables, by name
	ordersNew  bool             // the lake has not noted all of them
	resumed    []string         // tables that somebody asked to try again
	lastErr    error
	stops      map[string]Stop // tables that stopped, or are tried again, by name
	noted      map[string]Stop // what the record in the lake says of them
	noteErr    string          // why that could not be written
	writing    change.LSN      // where the round ends that is written; 0 before the first
	failures   sync.Map        // table name -> error
	leafSets   sync.Map        // table name -> *leafSet, beyond sessions
	leafWrites sync.Map        // table name -> []writtenLeaf, beyond sessions

	looked atomic.Pointer[change.Look] // what is to be judged; nil: nothing

	chunked atomic.Int32 // copies in chunks that are to be made
	// othersWait says that copies or incremental snapshots are due that one which runs keeps from being made.
	othersWait atomic.Bool
	passed     reach // up to where the rounds of this session were written

	replay      *replay                   // rows that wait for their place in the stream
	replaying   atomic.Bool               // they are not all in the lake
	replayAsked atomic.Bool               // a start is to read some
	replayNext  atomic.Pointer[time.Time] // before this time it is not to
	replayLeft  error                     // why Once has read none; nil: it has, or was not asked to

	incremental incremental // snapshots of some rows, beside the stream

	commits, spilled  atomic.Int64
	readLSN, ackedLSN atomic.Uint64

	governor     *governor
	lake         storage.Store               // as Options had it
	gate         *gate                       // before it, where the spool has a place of its own; else nil
	lock         *held                       // the lake's, nil until we have it
	recalled     atomic.Bool                 // what was asked for before is known
	joins        bool                        // the shards that run
	leaveShards  func(context.Context) error // nil until the lock that shards share is held
	locked       atomic.Pointer[held]        // the same, for the governor
	cancel       context.CancelCauseFunc     // ends the run
	probed       time.Time                   // when the governor last looked whether the lake answers
	diverted     atomic.Bool                 // rounds go to the spool
	writingSince atomic.Pointer[time.Time]   // a round is written since then; nil: none is
	lakeFailed   atomic.Bool                 // the lake refused a record
	dropped      atomic.Pointer[string]      // why the governor dropped the slot; nil: it did not
	remaking     bool                        // the slot is being made anew
	afresh       atomic.Bool                 // the next session begins with what this one lacks
	retryTables  atomic.Bool                 // tables are to be tried again now

	clock sourceClock // up to when the source is known

	recordMu   sync.Mutex // guards what follows
	recorded   *progress  // the newest record that was written
	lakeLost   time.Time  // when the lake last refused one
	recordedAt time.Time  // when the newest one that is known was written
}

// New makes a pipeline; nothing is touched before [Pipeline.Run].
func New(o Options) (*Pipeline, error) {
	if o.Name == "" || o.Source == nil || o.Lake == nil {
		return nil, errors.New("make pipeline: Name, Source and Lake are needed")
	}
	if (o.Shards == nil) != (ShardOf(o.Name) == "") {
		return nil, errors.New("make pipeline: a shard has Shards, and a name of two parts")
	}
	if o.Until != 0 && !o.Once {
		return nil, errors.New("make pipeline: Until needs Once")
	}
	setDefault(&o.Interval, 10*time.Second)
	setDefault(&o.MaxRows, 1_000_000)
	setDefault(&o.MaxBytes, 64<<20)
	setDefault(&o.MemoryBudget, 128<<20)
	setDefault(&o.CompactAfter, 10)
	if err := o.boundTimeline(); err != nil {
		return nil, fmt.Errorf("make pipeline: %w", err)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("pipeline", o.Name)
	if o.part != nil {
		log = log.With("slot", o.part.slot)
	}
	p := &Pipeline{opts: o, log: log, control: make(chan request), wake: make(chan struct{}, 1), spool: newSpool(&o), journal: map[string]bool{}, fresh: map[string]*change.Table{}, stops: map[string]Stop{}, lake: o.Lake, cancel: func(error) {}}
	if p.spool.own {
		p.gate = newGate(o.Lake)
		p.opts.Lake = p.gate
	}
	p.governor = newGovernor(p, o.WALBudget)
	return p, nil
}

// boundTimeline sets how long timelines become, and refuses to archive what the cleaner
// is to keep readable.
func (o *Options) boundTimeline() (err error) {
	setDefault(&o.RetainCommits, 10)
	o.ArchiveKeepMin, o.ArchiveKeepMax, err = TimelineBounds(o.RetainCommits, o.ArchiveKeepMin, o.ArchiveKeepMax)
	return err
}

// TimelineBounds are the number of writes down to which a timeline is archived and the one
// from which on it is, where a cleaner retains some; 0 takes the default. Bounds that
// contradict each other are an error, in the words of the configuration file.
func TimelineBounds(retain, keepMin, keepMax int) (least, most int, err error) {
	setDefault(&keepMin, max(50, retain+10))
	setDefault(&keepMax, 2*keepMin)
	switch {
	case keepMin <= retain:
		err = fmt.Errorf("archive_keep_min %d: want more than retain_commits, %d: what is archived cannot be read as of", keepMin, retain)
	case keepMax <= keepMin:
		err = fmt.Errorf("archive_keep_max %d: want more than archive_keep_min, %d", keepMax, keepMin)
	}
	return keepMin, keepMax, err
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Run copies what is missing, then streams until ctx ends or, with Once, until
// the lake has caught up. A table that fails is left behind and shown in
// [Pipeline.Status]; Run returns an error when the source, the lake or the lock
// fails, or at the end of Once when a table failed.
func (p *Pipeline) Run(ctx context.Context) (err error) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	unlock, err := p.enterSpool(ctx)
	if err != nil {
		return err
	}
	defer func() { err = p.release(ctx, err, unlock) }()
	if s := p.opts.Shards; s != nil {
		p.joins = true
		defer s.begin(p)()
	}
	if err := p.enterLake(ctx); err != nil {
		return err
	}
	clean, err := p.spillFolder()
	if err != nil {
		return err
	}
	defer clean()
	defer p.closeKeys()
	defer p.govern(ctx)()
	return p.sessions(ctx)
}

// sessions makes one connection to the source after the other, until nothing is left to do
// or to try.
func (p *Pipeline) sessions(ctx context.Context) (err error) {
	rounds := 1                   // of Once
	ran := p.gate.closed() != nil // it has come to stream: the configuration is right
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		streamed := false
		if err = p.enterLake(ctx); err == nil {
			err = p.session(ctx, func() { streamed, ran = true, true })
		}
		if again := p.opts.Once && p.opts.Until == 0 && err == nil && ctx.Err() == nil && p.awaitsCopy(); again && rounds < snapshots {
			rounds++
			continue
		}
		if errors.Is(err, errAgain) && ctx.Err() == nil {
			continue
		}
		p.setError(err)
		lake, ofLake := errors.AsType[*LakeError](err)
		if passes := p.retryable(err) || ofLake && ran; err == nil || ctx.Err() != nil || p.opts.Once || !passes {
			return err
		}
		if streamed {
			wait = retryFirst
		}
		if ofLake {
			p.log.Warn("lake failed, trying again", "error", lake, "in", wait)
		} else {
			p.log.Warn("source failed, trying again", "error", err, "in", wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// release gives the locks back, and says why the run has ended.
func (p *Pipeline) release(ctx context.Context, err error, unlock func(context.Context) error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errLockLost) {
		err = cause
	}
	ctx = context.WithoutCancel(ctx)
	cause := error(nil)
	if p.lock != nil && p.opts.part == nil {
		cause = p.lock.release(ctx)
	}
	if p.leaveShards != nil {
		cause = errors.Join(cause, p.leaveShards(ctx))
	}
	if cause = errors.Join(cause, unlock(ctx)); err == nil && cause != nil {
		err = fmt.Errorf("release lock: %w", cause)
	}
	return err
}

// govern runs the governor until stop is called.
func (p *Pipeline) govern(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { p.governor.run(ctx) })
	return func() { cancel(); done.Wait() }
}

// The first and the longest wait for a source that failed.
const (
	retryFirst = 500 * time.Millisecond
	retryLast  = 30 * time.Second
)

func (p *Pipeline) retryable(err error) bool { return p.opts.Retryable != nil && p.opts.Retryable(err) }

var errLockLost = errors.New("this pipeline's lock in the lake is no longer this process's: the lake's folder was removed, or another process took over because this one had not beaten for long")

// session is one connection to the source, from its start to its end; streaming is
// called when it has come to read the log.
func (p *Pipeline) session(ctx context.Context, streaming func()) error {
	if s := p.opts.Shards; s != nil {
		defer s.detach(ShardOf(p.opts.Name))
	}
	from, err := p.start(ctx) // start.go: slot, tables, first copies
	if err != nil {
		return err
	}
	if err := p.opts.Source.Stream(ctx, from); err != nil {
		return fmt.Errorf("stream from %s: %w", from, err)
	}
	streaming()
	p.governor.soon()
	p.setError(nil)
	err = p.stream(ctx) // stream.go: rounds are captured and written
	if cause := p.opts.Source.EndStream(); err == nil {
		err = cause
	}
	switch {
	case err != nil:
		return otherHistory(err)
	case ctx.Err() != nil:
		return ctx.Err()
	case !p.opts.Once:
		return errAgain
	}
	return cmp.Or(p.tableErrors(), p.replayLeft)
}
