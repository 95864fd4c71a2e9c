// Package keyindex keeps, on the local disk, the partition that the row of each record
// key is in: what hudi.IndexGlobalKey needs. It is a cache. What is in it may be deleted
// whenever nobody has it open; the table's next writer makes it anew.
//
// Values are kept in a Pebble store, with Bloom filters, so that a key that is not there
// costs no read. A key of 20 bytes takes some 20 bytes on disk. Many tables may share one
// store, and its memory: see [DB].
package keyindex

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// DB is a folder with the keys of some tables.
type DB struct{ db *pebble.DB }

// Store is a hudi.KeyStore: the part of a [DB] that is one table's.
type Store struct {
	db     *pebble.DB
	prefix []byte
	own    *DB // to be closed with it
}

// In a store the state is behind stateKey, and record keys are behind keyPrefix.
const (
	stateKey  = "s"
	keyPrefix = "k"
)

// OpenDB opens the folder, which is made if it is not there. It is an error if another
// process has it open. One that cannot be read is emptied: what was in it is made anew.
func OpenDB(folder string) (*DB, error) {
	db, err := open(folder, vfs.Default)
	if err == nil {
		return db, nil
	}
	lock, locked := pebble.LockDirectory(folder, vfs.Default)
	if locked != nil {
		return nil, err // another's, or no folder at all
	}
	gone := empty(folder)
	if err := errors.Join(gone, lock.Close()); err != nil {
		return nil, fmt.Errorf("empty key index %s, which is damaged: %w", folder, err)
	}
	return open(folder, vfs.Default)
}

// empty deletes what is in a folder, but for its lock.
func empty(folder string) error {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if e.Name() != "LOCK" {
			err = errors.Join(err, os.RemoveAll(folder+"/"+e.Name()))
		}
	}
	return err
}

// Open opens a folder that holds the keys of one table.
func Open(folder string) (*Store, error) {
	db, err := OpenDB(folder)
	if err != nil {
		return nil, err
	}
	return db.single(), nil
}

// OpenMem opens a store that lives in memory.
func OpenMem() (*Store, error) {
	db, err := open("keys", vfs.NewMem())
	if err != nil {
		return nil, err
	}
	return db.single(), nil
}

func (d *DB) single() *Store { return &Store{db: d.db, own: d} }

func open(folder string, fs vfs.FS) (*DB, error) {
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		FS: fs, Cache: cache, MemTableSize: 8 << 20, Logger: quiet{},
		FormatMajorVersion: pebble.FormatNewest,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(folder, opts)
	if err != nil {
		return nil, fmt.Errorf("open key index %s: %w", folder, err)
	}
	return &DB{db}, nil
}

// quiet passes on what is fatal only.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// Store is the part of a table, by a name that is the table's alone.
func (d *DB) Store(table string) *Store {
	// A length before the name: none is another's beginning.
	return &Store{db: d.db, prefix: fmt.Appendf(nil, "%d:%s/", len(table), table)}
}

// Close ends the use of the folder, and of its stores.
func (d *DB) Close() error {
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("close key index: %w", err)
	}
	return nil
}

// Close ends the use of a store that [Open] or [OpenMem] opened.
func (s *Store) Close() error {
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}

// at is where a record key is, in the memory of dst.
func (s *Store) at(dst []byte, key string) []byte {
	return append(append(append(dst[:0], s.prefix...), keyPrefix...), key...)
}

// state is where the state is.
func (s *Store) state() []byte { return append(slices.Clone(s.prefix), stateKey...) }

// fewKeys is how many keys are looked for one by one, and not on one way through all.
const fewKeys = 64

// Load reads values; "" for a key that is not there.
func (s *Store) Load(keys []string) ([]string, error) {
	order := make([]int, len(keys)) // neighbours are read together
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	out := make([]string, len(keys))
	if len(keys) > fewKeys {
		return out, s.walk(keys, order, out)
	}
	var at []byte
	for _, i := range order {
		at = s.at(at, keys[i])
		value, err := s.get(at)
		if err != nil {
			return nil, err
		}
		out[i] = string(value)
	}
	return out, nil
}

// walk reads values on one way through the keys, in their order.
func (s *Store) walk(keys []string, order []int, out []string) error {
	prefix := s.at(nil, "")
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: append(slices.Clone(s.prefix), keyPrefix[0]+1)})
	if err != nil {
		return fmt.Errorf("read key index: %w", err)
	}
	var at []byte
	last := ""
	for _, i := range order {
		at = s.at(at, keys[i])
		if !iter.SeekGE(at) || !bytes.Equal(iter.Key(), at) {
			continue
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("read key index: %w", err), iter.Close())
		}
		if string(value) != last {
			last = string(value) // neighbours are often in one partition
		}
		out[i] = last
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return fmt.Errorf("read key index: %w", err)
	}
	return nil
}

func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key index: %w", err)
	}
	value = slices.Clone(value)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("read key index: %w", err)
	}
	return value, nil
}

// Save writes values, "" for a key that is gone, and the state, all or nothing. What the
// machine's death takes of them it takes from the end.
func (s *Store) Save(values map[string]string, state []byte) error {
	batch := s.db.NewBatch()
	var at []byte
	for k, v := range values {
		var err error
		if at = s.at(at, k); v == "" {
			err = batch.Delete(at, nil)
		} else {
			err = batch.Set(at, []byte(v), nil)
		}
		if err != nil {
			return fmt.Errorf("write key index: %w", err)
		}
	}
	err := batch.Set(s.state(), state, nil)
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("write key index: %w", err)
	}
	return nil
}

// State is the last state that was saved, nil if there is none.
func (s *Store) State() ([]byte, error) { return s.get(s.state()) }

// Clear deletes everything.
func (s *Store) Clear() error {
	if err := s.db.DeleteRange(append(slices.Clone(s.prefix), 0), append(slices.Clone(s.prefix), 0xff), pebble.NoSync); err != nil {
		return fmt.Errorf("clear key index: %w", err)
	}
	return nil
}
