package storagetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"syscall"
	"time"
)

// The types of files that storage/file asks for.
type (
	writeFile = interface {
		io.Writer
		io.Closer
		Sync() error
	}
	readFile = interface {
		io.ReaderAt
		io.Closer
		Stat() (fs.FileInfo, error)
	}
)

// Link implements the FS of storage/file.
func (c *CrashFS) Link(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("link", to, true); err != nil {
		return err
	}
	n, err := c.get("link", from)
	if err != nil {
		return err
	}
	if n.dir {
		return pathError("link", from, syscall.EPERM)
	}
	return c.add("link", to, n)
}

// Rename implements the FS of storage/file.
func (c *CrashFS) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("rename", to, true); err != nil {
		return err
	}
	fromDir, fromBase, n, err := c.find("rename", from)
	if err != nil {
		return err
	}
	if n == nil {
		return pathError("rename", from, syscall.ENOENT)
	}
	toDir, toBase, there, err := c.find("rename", to)
	switch {
	case err != nil:
		return err
	case there == n:
		return nil // two names of one file: POSIX keeps both
	case there != nil && (there.dir || n.dir):
		return pathError("rename", to, syscall.EISDIR)
	}
	c.set(entry{toDir, toBase, n}, entry{fromDir, fromBase, nil})
	return nil
}

// Remove implements the FS of storage/file.
func (c *CrashFS) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("remove", name, true); err != nil {
		return err
	}
	dir, base, n, err := c.find("remove", name)
	switch {
	case err != nil:
		return err
	case n == nil:
		return pathError("remove", name, syscall.ENOENT)
	case n == c.root:
		return pathError("remove", name, syscall.EBUSY)
	case len(n.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	c.set(entry{dir, base, nil})
	return nil
}

// RemoveAll implements the FS of storage/file, as a Remove of each file and folder.
func (c *CrashFS) RemoveAll(name string) error {
	entries, err := c.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for _, e := range entries {
		if err := c.RemoveAll(path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	if err := c.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Mkdir implements the FS of storage/file.
func (c *CrashFS) Mkdir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("mkdir", name, true); err != nil {
		return err
	}
	return c.add("mkdir", name, newFolder())
}

// ReadDir implements the FS of storage/file.
func (c *CrashFS) ReadDir(name string) ([]fs.DirEntry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("readdir", name, false); err != nil {
		return nil, err
	}
	n, err := c.get("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return entries, nil
}

// Stat implements the FS of storage/file.
func (c *CrashFS) Stat(name string) (fs.FileInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("stat", name, false); err != nil {
		return nil, err
	}
	n, err := c.get("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(name)), nil
}

// SyncDir implements the FS of storage/file.
func (c *CrashFS) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("syncdir", name, true); err != nil {
		return err
	}
	n, err := c.get("syncdir", name)
	if err != nil {
		return err
	}
	if !n.dir {
		return pathError("syncdir", name, syscall.ENOTDIR)
	}
	if c.IgnoreSyncDir {
		return nil
	}
	var pending []change
	for _, ch := range c.pending {
		var left change
		for _, e := range ch {
			if e.dir == n {
				e.apply(n.durable)
			} else {
				left = append(left, e)
			}
		}
		if left != nil {
			pending = append(pending, left)
		}
	}
	c.pending = pending
	return nil
}

// handle is an open file, or the lock on one.
type handle struct {
	c      *CrashFS
	n      *node
	name   string
	life   int
	closed bool
	locked bool
}

// begin begins a call on an open file, with the file system's mutex held.
func (h *handle) begin(op string, changes bool) error {
	if err := h.c.begin(op, h.name, changes); err != nil {
		return err
	}
	if h.closed || h.life != h.c.life {
		return pathError(op, h.name, fs.ErrClosed)
	}
	return nil
}

func (h *handle) Write(b []byte) (int, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err := h.begin("write", true); err != nil {
		return 0, err
	}
	h.n.data = append(h.n.data, b...) // synced is a beginning of it
	h.n.mod = time.Now()
	return len(b), nil
}

func (h *handle) Sync() error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err := h.begin("sync", true); err != nil {
		return err
	}
	if !h.c.IgnoreSync {
		h.n.synced = h.n.data
	}
	return nil
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err := h.begin("read", false); err != nil {
		return 0, err
	}
	if h.n.dir {
		return 0, pathError("read", h.name, syscall.EISDIR)
	}
	return bytes.NewReader(h.n.data).ReadAt(b, off)
}

func (h *handle) Stat() (fs.FileInfo, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err := h.begin("stat", false); err != nil {
		return nil, err
	}
	return h.n.info(path.Base(h.name)), nil
}

func (h *handle) Close() error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if err := h.begin("close", false); err != nil {
		return err
	}
	h.closed = true
	if h.locked {
		delete(h.c.locks, h.n)
	}
	return nil
}

// info is what Stat says of a node.
func (n *node) info(name string) info {
	return info{name: name, size: int64(len(n.data)), dir: n.dir, mod: n.mod}
}

type info struct {
	name string
	size int64
	dir  bool
	mod  time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.mod }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
