package storagetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrPowerOff is what a [CrashFS] returns when its power has failed.
var ErrPowerOff = errors.New("the power is off")

// CrashFS is a file system in memory, for storage/file, that forgets at [CrashFS.Crash]
// what a disk may forget at a power failure: data that was not synced is lost or cut
// anywhere; an entry of a folder (made, linked, renamed, removed) that no SyncDir of
// that folder followed is there or not. The names that one rename changes go
// together, and of calls on one folder that were not synced a later one may last where
// an earlier one does not.
//
// The zero value is not usable: see [NewCrashFS].
type CrashFS struct {
	// IgnoreSync and IgnoreSyncDir make the calls of that name do nothing, so that a
	// test can show that it would notice their absence.
	IgnoreSync, IgnoreSyncDir bool
	// Fail, unless nil, is asked before each call; what it returns is what the call
	// returns, without effect. Set it before the file system is used, and do not call
	// the file system in it.
	Fail func(op, name string) error

	mu      sync.Mutex
	root    *node
	pending []change // in the order of the calls
	ops     int      // calls that changed or synced something
	limit   int      // of ops, when the power fails; 0: never
	life    int      // which of the lives between crashes this is: handles of others are dead
	locks   map[*node]bool
}

// node is a file or a folder.
type node struct {
	dir              bool
	mod              time.Time
	data, synced     []byte           // of a file: what is read, and what a crash leaves
	entries, durable map[string]*node // of a folder, the same
}

// change is the entries that one call set.
type change []entry

type entry struct {
	dir  *node
	name string
	to   *node // nil: removed
}

func (e entry) apply(entries map[string]*node) {
	if e.to == nil {
		delete(entries, e.name)
	} else {
		entries[e.name] = e.to
	}
}

func newFolder() *node {
	return &node{dir: true, mod: time.Now(), entries: map[string]*node{}, durable: map[string]*node{}}
}

// NewCrashFS is an empty file system: it has the folder "/".
func NewCrashFS() *CrashFS { return &CrashFS{root: newFolder(), locks: map[*node]bool{}} }

// Ops is the number of calls so far that changed or synced something.
func (c *CrashFS) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// CrashAfter lets the power fail after n more calls that change or sync something:
// whatever comes then returns [ErrPowerOff] until Crash.
func (c *CrashFS) CrashAfter(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = c.ops + n
}

// Kill is the death of the process only: nothing is forgotten, but open files are
// dead and locks are free. The power is on afterwards.
func (c *CrashFS) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kill()
}

func (c *CrashFS) kill() {
	c.life++
	c.limit = 0
	clear(c.locks)
}

// Crash is a power failure, and the machine's return: the file system is what the
// disk kept, by the choice of rng.
func (c *CrashFS) Crash(rng *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kill()
	style, prefix := rng.IntN(3), rng.IntN(len(c.pending)+1)
	for i, ch := range c.pending {
		var keep bool
		switch style {
		case 0: // none
		case 1: // as a journal would: up to some call
			keep = i < prefix
		default: // each by itself
			keep = rng.IntN(2) == 0
		}
		for _, e := range ch {
			if keep {
				e.apply(e.dir.durable)
			}
		}
	}
	c.pending = nil
	c.root.restore(rng, map[*node]bool{})
}

// restore makes a node, and what is in it, what the disk kept.
func (n *node) restore(rng *rand.Rand, done map[*node]bool) {
	if done[n] {
		return // a file with two names
	}
	done[n] = true
	if !n.dir {
		n.data = survivor(rng, n.synced, n.data)
		n.synced = n.data
		return
	}
	n.entries = maps.Clone(n.durable)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		n.entries[name].restore(rng, done)
	}
}

// survivor is what is left of data of which a beginning was synced: more or less of
// the rest, or zeros where it should be.
func survivor(rng *rand.Rand, synced, data []byte) []byte {
	if len(synced) == len(data) {
		return data
	}
	kept := len(synced) + rng.IntN(len(data)-len(synced)+1)
	left := bytes.Clone(data[:kept])
	if rng.IntN(4) == 0 {
		left = append(left, make([]byte, len(data)-kept)...)
	}
	return left
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// begin begins a call, with c.mu held: it fails where the power is off.
func (c *CrashFS) begin(op, name string, changes bool) error {
	if c.Fail != nil {
		if err := c.Fail(op, name); err != nil {
			return pathError(op, name, err)
		}
	}
	if c.limit > 0 && c.ops >= c.limit {
		return pathError(op, name, ErrPowerOff)
	}
	if changes {
		c.ops++
	}
	return nil
}

// find is the folder that a name is in, its last element, and what it names, if anything.
func (c *CrashFS) find(op, name string) (dir *node, base string, n *node, err error) {
	dir, base = c.root, path.Base(name)
	if path.Clean(name) == "/" {
		return dir, base, dir, nil
	}
	for elem := range strings.SplitSeq(strings.Trim(path.Dir(path.Clean(name)), "/"), "/") {
		if elem == "" {
			continue
		}
		if dir = dir.entries[elem]; dir == nil {
			return nil, "", nil, pathError(op, name, syscall.ENOENT)
		}
		if !dir.dir {
			return nil, "", nil, pathError(op, name, syscall.ENOTDIR)
		}
	}
	return dir, base, dir.entries[base], nil
}

// get is what a name names; it is an error if that is nothing.
func (c *CrashFS) get(op, name string) (*node, error) {
	_, _, n, err := c.find(op, name)
	if err == nil && n == nil {
		err = pathError(op, name, syscall.ENOENT)
	}
	return n, err
}

// set sets entries of folders, which stay pending until the folders are synced.
func (c *CrashFS) set(ch ...entry) {
	for _, e := range ch {
		e.apply(e.dir.entries)
	}
	c.pending = append(c.pending, ch)
}

// add makes a new entry for n.
func (c *CrashFS) add(op, name string, n *node) error {
	dir, base, there, err := c.find(op, name)
	if err != nil {
		return err
	}
	if there != nil {
		return pathError(op, name, syscall.EEXIST)
	}
	c.set(entry{dir, base, n})
	return nil
}

// Create implements the FS of storage/file.
func (c *CrashFS) Create(name string) (writeFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("create", name, true); err != nil {
		return nil, err
	}
	n := &node{mod: time.Now()}
	if err := c.add("create", name, n); err != nil {
		return nil, err
	}
	return &handle{c: c, n: n, name: name, life: c.life}, nil
}

// Open implements the FS of storage/file.
func (c *CrashFS) Open(name string) (readFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("open", name, false); err != nil {
		return nil, err
	}
	n, err := c.get("open", name)
	if err != nil {
		return nil, err
	}
	return &handle{c: c, n: n, name: name, life: c.life}, nil
}

// Lock implements the FS of storage/file.
func (c *CrashFS) Lock(name string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("lock", name, false); err != nil {
		return nil, err
	}
	n, err := c.get("lock", name)
	if err != nil {
		return nil, err
	}
	if c.locks[n] {
		return nil, pathError("lock", name, syscall.EWOULDBLOCK)
	}
	c.locks[n] = true
	return &handle{c: c, n: n, name: name, life: c.life, locked: true}, nil
}
