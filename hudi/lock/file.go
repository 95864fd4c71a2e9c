package lock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/google/uuid"

	"lakefeed/storage"
)

// fileName is where FileSystemBasedLockProvider of Hudi has its lock.
var fileName = path.Join(".hoodie", "lock")

// FileOptions are the times of a file lock. The zero value has Hudi's.
type FileOptions struct {
	// Expire is how old the file may become before others take the lock away from a
	// holder that must have died; it is renewed three times as often. 0, Hudi's
	// default: never, a person deletes the file. Hudi's
	// hoodie.write.lock.filesystem.expire, which counts minutes. All writers of a
	// table must be told the same.
	Expire time.Duration
	// Poll is how often one that waits looks whether it is free; 0: 1 second.
	Poll time.Duration
	// Now is the clock, which is compared with the store's; nil: time.Now.
	Now func() time.Time
}

// NewFile is the lock of the table in a store that Hudi's
// FileSystemBasedLockProvider uses too: a file that is there while the lock is held.
//
// It is weaker than the storage lock: Hudi's own provider removes an expired file
// without looking whose it is by then, and any file when its session ends. A writer of
// ours notices that it lost the lock before it publishes; one of Hudi's does not.
func NewFile(store storage.Store, opts FileOptions) Locker {
	if opts.Poll == 0 {
		opts.Poll = time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &fileLock{store, opts}
}

type fileLock struct {
	store storage.Store
	opts  FileOptions
}

func (l *fileLock) String() string { return "lock " + l.store.String() + "/" + fileName }

// fileLockInfo is the content of the file. Hudi writes the first three, for people.
type fileLockInfo struct {
	CreateTime string `json:"lockCreateTime"`
	ThreadName string `json:"lockThreadName"`
	StacksInfo string `json:"lockStacksInfo"`
	Renewed    int    `json:"renewed,omitempty"` // so that no two versions are equal
}

func (l *fileLock) Lock(ctx context.Context) (Lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("take %s: %w", l, err)
	}
	h := &fileHold{fileLock: l, info: fileLockInfo{
		CreateTime: l.opts.Now().Format("2006-01-02 15:04:05.000"),
		ThreadName: fmt.Sprintf("lakefeed %s/%d/%s", host, os.Getpid(), uuid.NewString()),
	}}
	w := &fileWait{}
	return Await(ctx, h, l.opts.Poll, func() (Lease, string, error) {
		began := time.Now()
		taken, holder, err := h.try(ctx, w)
		if err != nil || !taken {
			return nil, holder, err
		}
		// Others go by the time that the store notes of the file, which may be coarse and
		// so earlier than began: the lease promises a twentieth less.
		promised := l.opts.Expire - l.opts.Expire/20
		return Keep(ctx, h, began, promised, max(l.opts.Expire/3, time.Millisecond)), "", nil
	})
}

// fileHold is a lock that one Lock takes. It is not used by two goroutines at once.
type fileHold struct {
	*fileLock
	info    fileLockInfo
	version storage.Version
}

// fileWait is what one that waits has seen of another's lock.
type fileWait struct {
	version storage.Version
	written time.Time // by the store's clock
}

// try takes the lock if it is free or expired; else holder is what the file says.
func (h *fileHold) try(ctx context.Context, w *fileWait) (taken bool, holder string, err error) {
	if err := h.write(ctx, ""); !errors.Is(err, storage.ErrExist) {
		return err == nil, "", err
	}
	data, v, err := h.store.Get(ctx, fileName)
	if errors.Is(err, storage.ErrNotExist) {
		return false, "nobody any more", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("read %s: %w", fileName, err)
	}
	holder = string(bytes.TrimSpace(data))
	if h.opts.Expire == 0 {
		return false, holder, nil
	}
	if w.version != v || w.written.IsZero() {
		if w.written, err = h.modTime(ctx); err != nil {
			return false, holder, err
		}
		w.version = v
	}
	if w.written.IsZero() || h.opts.Now().Sub(w.written) <= h.opts.Expire {
		return false, holder, nil
	}
	err = h.write(ctx, v)
	if errors.Is(err, storage.ErrConflict) { // another was faster, or it lives
		return false, holder, nil
	}
	return err == nil, holder, err
}

// modTime is when the file was written; zero where it is gone.
func (l *fileLock) modTime(ctx context.Context) (time.Time, error) {
	for info, err := range l.store.List(ctx, path.Dir(fileName), false) {
		if err != nil {
			return time.Time{}, fmt.Errorf("look how old %s is: %w", fileName, err)
		}
		if info.Name == fileName {
			return info.ModTime, nil
		}
	}
	return time.Time{}, nil
}

// write creates the file, or replaces the version v. When that fails, the file tells
// whether it was done all the same.
func (h *fileHold) write(ctx context.Context, v storage.Version) error {
	h.info.Renewed++
	data, err := json.Marshal(h.info)
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if v == "" {
		err = h.store.PutIfAbsent(ctx, fileName, data)
	} else if v, err = h.store.PutIfMatch(ctx, fileName, data, v); err == nil {
		h.version = v
		return nil
	}
	now, v, rerr := h.store.Get(ctx, fileName)
	switch {
	case rerr == nil && bytes.Equal(now, data):
		h.version = v
		return nil
	case err == nil && rerr != nil && !errors.Is(rerr, storage.ErrNotExist):
		return fmt.Errorf("read %s: %w", fileName, rerr)
	case err == nil:
		return fmt.Errorf("%s: %w", h, ErrLost)
	}
	return fmt.Errorf("write %s: %w", fileName, err)
}

// ours looks whether the file is still this lease's.
func (h *fileHold) ours(ctx context.Context) error {
	data, v, err := h.store.Get(ctx, fileName)
	if err != nil && !errors.Is(err, storage.ErrNotExist) {
		return fmt.Errorf("read %s: %w", fileName, err)
	}
	var now fileLockInfo
	if err != nil || json.Unmarshal(data, &now) != nil || now.ThreadName != h.info.ThreadName {
		return fmt.Errorf("%s: %w: it says %q", h, ErrLost, data)
	}
	h.version = v
	return nil
}

func (h *fileHold) Renew(ctx context.Context) error {
	err := h.ours(ctx)
	if err == nil && h.opts.Expire > 0 {
		err = h.write(ctx, h.version)
	}
	if errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("%s: %w: %w", h, ErrLost, err)
	}
	return err
}

// Release proves first that the lock is held, so that it is not another's file that
// goes.
func (h *fileHold) Release(ctx context.Context) error {
	if err := h.Renew(ctx); err != nil {
		return err
	}
	if err := h.store.Delete(ctx, fileName); err != nil {
		return fmt.Errorf("delete %s: %w", fileName, err)
	}
	return nil
}
