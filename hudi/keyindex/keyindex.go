// Package keyindex keeps, on the local disk, the partition that the row of each record
// key is in: what hudi.IndexGlobalKey needs. It is a cache. What is in it may be deleted
// whenever nobody has it open; the table's next writer makes it anew.
//
// Values are kept in a Pebble store, with Bloom filters, so that a key that is not there
// costs no read. A key of 20 bytes takes some 20 bytes on disk.
package keyindex

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Store is a hudi.KeyStore in a folder of its own.
type Store struct{ db *pebble.DB }

const (
	stateKey  = "s"
	keyPrefix = "k" // before record keys
)

// Open opens the store in a folder, which is made if it is not there. It is an error if
// another process has it open.
func Open(folder string) (*Store, error) { return open(folder, vfs.Default) }

// OpenMem opens a store that lives in memory.
func OpenMem() (*Store, error) { return open("keys", vfs.NewMem()) }

func open(folder string, fs vfs.FS) (*Store, error) {
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
	return &Store{db}, nil
}

// quiet passes on what is fatal only.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// Close ends the use of the store.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close key index: %w", err)
	}
	return nil
}

// Load reads values; "" for a key that is not there.
func (s *Store) Load(keys []string) ([]string, error) {
	order := make([]int, len(keys)) // neighbours are read together
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	out := make([]string, len(keys))
	var at []byte
	for _, i := range order {
		at = append(append(at[:0], keyPrefix...), keys[i]...)
		value, err := s.get(at)
		if err != nil {
			return nil, err
		}
		out[i] = string(value)
	}
	return out, nil
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

// Save writes values and the state, all or nothing. What the machine's death takes of
// them it takes from the end.
func (s *Store) Save(values map[string]string, state []byte) error {
	batch := s.db.NewBatch()
	var at []byte
	for k, v := range values {
		at = append(append(at[:0], keyPrefix...), k...)
		if err := batch.Set(at, []byte(v), nil); err != nil {
			return fmt.Errorf("write key index: %w", err)
		}
	}
	err := batch.Set([]byte(stateKey), state, nil)
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("write key index: %w", err)
	}
	return nil
}

// State is the last state that was saved, nil if there is none.
func (s *Store) State() ([]byte, error) { return s.get([]byte(stateKey)) }

// Clear deletes everything.
func (s *Store) Clear() error {
	if err := s.db.DeleteRange([]byte{0}, []byte{0xff}, pebble.NoSync); err != nil {
		return fmt.Errorf("clear key index: %w", err)
	}
	return nil
}
