package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

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

	writing chan struct{} // bounds the tables that are written at once

	mu     sync.Mutex // guards what follows
	runs   int
	lock   *held
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
	Logger             *slog.Logger // silent when nil
}

// NewShards makes what shards share; nothing is touched before one of them runs.
func NewShards(o ShardsOptions) *Shards {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Shards{o: o, log: log, writing: make(chan struct{}, writers), tables: map[string]*sharedTable{}}
}

// enter takes the lock that the shards have together, unless one of them has it, and makes the
// run of one end when it is lost.
func (s *Shards) enter(ctx context.Context, lost func(error)) (leave func(context.Context) error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == 0 {
		if s.lock, err = acquire(ctx, s.o.Lake, s.o.Name, s.o.Listen, s.log); err != nil {
			return nil, err
		}
	}
	s.runs++
	context.AfterFunc(s.lock.holding(ctx), func() { lost(errLockLost) })
	return s.leave, nil
}

// leave gives the lock back with the last of the shards.
func (s *Shards) leave(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs--; s.runs > 0 {
		return nil
	}
	clear(s.tables)
	if s.keys != nil {
		if err := s.keys.Close(); err != nil {
			s.log.Warn("the partitions of keys may have to be read anew", "error", err)
		}
		s.keys = nil
	}
	if err := s.lock.release(ctx); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
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
