package lock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/google/uuid"

	"lakefeed/storage"
)

// storageFile is where StorageBasedLockProvider of Hudi 1.1 and later has its lock.
var storageFile = path.Join(".hoodie", ".locks", "table_lock.json")

// clockDrift is how far two machines' clocks may be apart, as Hudi has it.
const clockDrift = 500 * time.Millisecond

// StorageOptions are the times of a storage lock. The zero value has Hudi's.
type StorageOptions struct {
	// Validity is how long a lock lasts that is not renewed; 0: 5 minutes. Hudi's
	// hoodie.write.lock.storage.validity.timeout.secs.
	Validity time.Duration
	// Renew is how often it is renewed; 0: 30 seconds, or a third of Validity if that
	// is less. Hudi's hoodie.write.lock.storage.renew.interval.secs.
	Renew time.Duration
	// Poll is how often one that waits looks whether it is free; 0: 1 second.
	Poll time.Duration
	// Now is the clock; nil: time.Now. Other writers compare it with theirs.
	Now func() time.Time
}

func (o *StorageOptions) setDefaults() {
	if o.Validity == 0 {
		o.Validity = 5 * time.Minute
	}
	if o.Renew == 0 {
		o.Renew = min(30*time.Second, o.Validity/3)
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// NewStorage is the lock of the table in a store that Hudi's
// StorageBasedLockProvider uses too: a small file that is only ever replaced on
// condition that it is the one that was read. It needs nothing but the store, and
// excludes writers everywhere.
func NewStorage(store storage.Store, opts StorageOptions) Locker {
	opts.setDefaults()
	return &storageLock{store, opts}
}

type storageLock struct {
	store storage.Store
	opts  StorageOptions
}

func (l *storageLock) String() string { return "lock " + l.store.String() + "/" + storageFile }

// lockRecord is the content of the file, in the order in which Hudi writes it.
type lockRecord struct {
	Expired    bool   `json:"expired"`    // given back
	ValidUntil int64  `json:"validUntil"` // milliseconds since 1970
	Owner      string `json:"owner"`
}

func (l *storageLock) Lock(ctx context.Context) (Lease, error) {
	h := &storageHold{storageLock: l, owner: uuid.NewString()}
	return Await(ctx, h, l.opts.Poll, func() (Lease, string, error) {
		began := time.Now()
		holder, err := h.try(ctx)
		if err != nil || holder != h.owner {
			return nil, holder, err
		}
		return Keep(ctx, h, began, l.opts.Validity, l.opts.Renew), "", nil
	})
}

// storageHold is a lock that one Lock takes. It is not used by two goroutines at once.
type storageHold struct {
	*storageLock
	owner   string
	record  lockRecord // as the file says
	version storage.Version
}

// read is the record in the file, nil where there is none.
func (l *storageLock) read(ctx context.Context) (*lockRecord, storage.Version, error) {
	data, v, err := l.store.Get(ctx, storageFile)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", storageFile, err)
	}
	r, err := parseLockRecord(data)
	if err != nil {
		return nil, "", fmt.Errorf("%w; delete it when nobody writes to the table", &DamagedError{storageFile, err})
	}
	return r, v, nil
}

// parseLockRecord reads the file's content. Each of the three must be there, as in Hudi.
func parseLockRecord(data []byte) (*lockRecord, error) {
	var r struct {
		Expired    *bool   `json:"expired"`
		ValidUntil *int64  `json:"validUntil"`
		Owner      *string `json:"owner"`
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		return nil, fmt.Errorf("parse lock: %w", err)
	}
	if r.Expired == nil || r.ValidUntil == nil || r.Owner == nil {
		return nil, errors.New("parse lock: want expired, validUntil and owner")
	}
	return &lockRecord{*r.Expired, *r.ValidUntil, *r.Owner}, nil
}

// try takes the lock if it is free, and returns who has it.
func (h *storageHold) try(ctx context.Context) (holder string, err error) {
	now, v, err := h.read(ctx)
	if err != nil {
		return "", err
	}
	if now != nil && !now.Expired && h.opts.Now().UnixMilli() <= now.ValidUntil+clockDrift.Milliseconds() {
		return now.Owner, nil
	}
	err = h.write(ctx, lockRecord{ValidUntil: h.until(), Owner: h.owner}, now == nil, v)
	if lost := new(notOurs); errors.As(err, &lost) {
		return lost.owner, nil // another was faster
	}
	return h.owner, err
}

// until is when a lock that is taken or renewed now lapses. It never steps back with
// the clock.
func (h *storageHold) until() int64 {
	return max(h.record.ValidUntil, h.opts.Now().Add(h.opts.Validity).UnixMilli())
}

// notOurs says that the file is another's.
type notOurs struct{ owner string }

func (e *notOurs) Error() string { return e.owner + " holds it" }

// write replaces the version of the file that was read, or creates the file. When that
// fails, the file tells whether it was done all the same.
func (h *storageHold) write(ctx context.Context, r lockRecord, create bool, v storage.Version) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if create {
		err = h.store.PutIfAbsent(ctx, storageFile, data)
	} else if v, err = h.store.PutIfMatch(ctx, storageFile, data, v); err == nil {
		h.record, h.version = r, v
		return nil
	}
	now, v, rerr := h.read(ctx)
	switch {
	case rerr != nil:
		return errors.Join(err, rerr)
	case now != nil && *now == r:
		h.record, h.version = r, v
		return nil
	case err != nil && !errors.Is(err, storage.ErrExist) && !errors.Is(err, storage.ErrConflict):
		return fmt.Errorf("write %s: %w", storageFile, err)
	case now == nil:
		return &notOurs{"nobody"}
	}
	return &notOurs{now.Owner}
}

// rewrite replaces the lock that is held by r.
func (h *storageHold) rewrite(ctx context.Context, r lockRecord) error {
	err := h.write(ctx, r, false, h.version)
	if lost := new(notOurs); errors.As(err, &lost) && lost.owner == h.owner {
		// A renewal whose answer was lost came through late.
		var v storage.Version
		if _, v, err = h.read(ctx); err == nil {
			err = h.write(ctx, r, false, v)
		}
	}
	if lost := new(notOurs); errors.As(err, &lost) {
		return fmt.Errorf("%s: %w: %w", h, ErrLost, err)
	}
	return err
}

func (h *storageHold) Renew(ctx context.Context) error {
	return h.rewrite(ctx, lockRecord{ValidUntil: h.until(), Owner: h.owner})
}

func (h *storageHold) Release(ctx context.Context) error {
	return h.rewrite(ctx, lockRecord{Expired: true, ValidUntil: h.record.ValidUntil, Owner: h.owner})
}

// DamagedError says that the file of a lock is not what it should be.
type DamagedError struct {
	File string // below the table's folder
	Err  error
}

// Error names the file.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.File, e.Err) }

// Unwrap is what was found wrong.
func (e *DamagedError) Unwrap() error { return e.Err }
