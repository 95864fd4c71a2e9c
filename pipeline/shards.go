package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/storage"
)

// Shards is what the pipelines of several databases share whose tables land in the same tables
// of the lake. Each is a [Pipeline] of its own, named as [StreamName] says, with a slot, records, a spool and states of its
// own; the tables in the lake are written by all of them together, in one process: see shard_write.go.
type Shards struct {
	o   ShardsOptions
	log *slog.Logger

	gate    *gate         // before the tables, shut while the lake is away for all that run
	writing chan struct{} // bounds the tables that are written at once

	entering chan struct{} // whoever holds it may use these
	entered  int
	lock     *held

	locked atomic.Pointer[held] // the same, for the governors; nil: none of them has entered

	mu     sync.Mutex // guards what follows
	runs   map[*Pipeline]bool
	tables map[string]*sharedTable // by folder
	keys   *keyindex.DB            // nil until a partitioned table is opened
}

// ShardsOptions say what shards share.
type ShardsOptions struct {
	Name   string        // of the pipeline; its lock in the lake keeps other processes from running shards of it
	Names  []string      // of the shards
	Lake   storage.Store // rooted at lake.url
	Listen string        // as that of [Options]
	// IndexDir and SpillDir are as those of [Options].
	IndexDir, SpillDir string
	Logger             *slog.Logger       // silent when nil
	OnPhase            func(phase string) // as that of [Options], for work on the tables in the lake
}

// NewShards makes what shards share; nothing is touched before one of them runs.
func NewShards(o ShardsOptions) *Shards {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Shards{
		o: o, log: log.With("pipeline", o.Name), gate: newGate(o.Lake), writing: make(chan struct{}, writers), entering: make(chan struct{}, 1),
		runs: map[*Pipeline]bool{}, tables: map[string]*sharedTable{},
	}
}

// enter takes the lock that the shards have together, unless one of them has it, and makes the
// run of one end when it is lost.
func (s *Shards) enter(ctx context.Context, lost func(error)) (leave func(context.Context) error, err error) {
	select {
	case s.entering <- struct{}{}:
		defer func() { <-s.entering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.entered == 0 {
		if s.lock, err = acquire(ctx, s.o.Lake, s.o.Name, s.o.Listen, s.log); err != nil {
			return nil, err
		}
		s.locked.Store(s.lock)
	}
	s.entered++
	context.AfterFunc(s.lock.holding(ctx), func() { lost(errLockLost) })
	return s.leave, nil
}

// leave gives the lock back with the last of the shards.
func (s *Shards) leave(ctx context.Context) error {
	s.entering <- struct{}{} // who waits there for long is the first that runs
	defer func() { <-s.entering }()
	if s.entered--; s.entered > 0 {
		return nil
	}
	s.forget()
	s.locked.Store(nil)
	if err := s.lock.release(ctx); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

// isOurs reports whether the lake says that the lock which the shards have together is this process's.
func (s *Shards) isOurs(ctx context.Context) (bool, error) {
	if lock := s.locked.Load(); lock != nil {
		return lock.isOurs(ctx)
	}
	return false, nil
}

// forget lets go of all tables.
func (s *Shards) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tables)
	if s.keys != nil {
		if err := s.keys.Close(); err != nil {
			s.log.Warn("the partitions of keys may have to be read anew", "error", err)
		}
		s.keys = nil
	}
}

// begin notes that a shard runs; end, that it does so no more.
func (s *Shards) begin(p *Pipeline) (end func()) {
	note := func(runs bool) {
		s.mu.Lock()
		if runs {
			s.runs[p] = true
		} else {
			delete(s.runs, p)
		}
		s.mu.Unlock()
		s.look()
	}
	note(true)
	return func() { note(false) }
}

// look shuts the gate before the tables where the lake is away for every shard that runs, so that
// what they wait for in it is broken off, and opens it where one of them has an answer.
func (s *Shards) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var away *AwayError
	for p := range s.runs {
		if away = p.gate.closed(); away == nil {
			break
		}
	}
	if away != nil {
		s.gate.shut(away.Err)
	} else {
		s.gate.open()
	}
}

// suspected reports whether a shard has found the lake away: the others are to look for themselves.
func (s *Shards) suspected() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.runs {
		if p.gate.closed() != nil {
			return true
		}
	}
	return false
}

// options are those of a table, which are nobody's own.
func (s *Shards) options(table string) hudi.Options {
	return hudi.Options{Logger: s.log.With("table", table), Hook: s.o.OnPhase, Services: &hudi.ServicesOptions{}, Concurrency: alone}
}

// table is the one in a folder.
func (s *Shards) table(path string) *sharedTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[path]
	if t == nil {
		t = &sharedTable{shards: s, turn: make(chan struct{}, 1), members: map[string]*target{}}
		s.tables[path] = t
	}
	return t
}

// keyStore is where the partitions of the keys of a table are kept.
func (s *Shards) keyStore(path string) (hudi.KeyStore, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		keys, err := openKeys(keyFolder(s.o.IndexDir, s.o.SpillDir, s.o.Name, s.o.Lake))
		if err != nil {
			return nil, err
		}
		s.keys = keys
	}
	return s.keys.Store(path), nil
}

// detach lets nobody wait for a shard that has ended.
func (s *Shards) detach(shard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		t.detach(shard)
	}
}

// shardKeys begins the keys of extra metadata with the checkpoints of shards.
const shardKeys = checkpointKey + "."

// ShardOf is the shard that a pipeline is of by its name, "": of none.
func ShardOf(pipeline string) string {
	_, shard, _ := strings.Cut(pipeline, ".")
	return shard
}

// CheckpointKey is the key of extra metadata under which commits of a pipeline's tables say what
// of its source they hold.
func CheckpointKey(pipeline string) string {
	if shard := ShardOf(pipeline); shard != "" {
		return shardKeys + shard
	}
	return checkpointKey
}

// keyFolder is where a pipeline keeps the partitions of keys, apart from other lakes' pipelines of its name.
func keyFolder(indexDir, spillDir, name string, lake storage.Store) string {
	parent := indexDir
	if parent == "" {
		parent = spillDir
	}
	if parent == "" {
		parent = os.TempDir()
		if cache, err := os.UserCacheDir(); err == nil {
			parent = filepath.Join(cache, "lakefeed")
		}
	}
	return filepath.Join(parent, keyFolderName(name, lake))
}
