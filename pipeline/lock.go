package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"lakefeed/hudi"
	"lakefeed/storage"
)

// Times of the lock. A holder that has not beaten for lockStale is taken for dead;
// one that dies is awaited that long by the next, a living one is refused at its next beat.
const (
	lockBeat  = 5 * time.Second
	lockStale = 45 * time.Second
	lockWait  = 60 * time.Second
	lockTell  = 10 * time.Second // how often who waits says so
)

// Lock is what a running pipeline says of itself in <lake>/_lakefeed/lock/<pipeline>.
type Lock struct {
	ID      string    `json:"id"` // of this run
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Address string    `json:"address,omitempty"` // of its server
	Since   time.Time `json:"since"`
	Beat    int64     `json:"beat"` // grows while it lives
}

// LockedError is a pipeline that another living process runs.
type LockedError struct {
	Pipeline string
	Holder   Lock
	Table    string // that was to be worked on; "": the pipeline was to run
}

// Error names the holder.
func (e *LockedError) Error() string {
	if e.Table != "" {
		return fmt.Sprintf("table %s belongs to pipeline %s, which process %d on %s has run or held since %s; that compacts, cleans and archives by itself, and would take this for what a crash left: stop it first, and start it again afterwards",
			e.Table, e.Pipeline, e.Holder.PID, e.Holder.Host, e.Holder.Since.Format(time.RFC3339))
	}
	return fmt.Sprintf("pipeline %s is run by process %d on %s since %s: stop that one first, or give this one another name and lake",
		e.Pipeline, e.Holder.PID, e.Holder.Host, e.Holder.Since.Format(time.RFC3339))
}

func lockName(pipeline string) string { return "_lakefeed/lock/" + folderName(pipeline) }

// ReadLock is the lock of a pipeline, nil where nobody has it.
func ReadLock(ctx context.Context, lake storage.Store, pipeline string) (*Lock, error) {
	l, _, err := readLock(ctx, lake, lockName(pipeline))
	return l, err
}

func readLock(ctx context.Context, lake storage.Store, name string) (*Lock, storage.Version, error) {
	b, v, err := lake.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, v, nil
	}
	if err != nil {
		return nil, v, fmt.Errorf("read lock: %w", err)
	}
	l := new(Lock)
	if err := json.Unmarshal(b, l); err != nil {
		return nil, v, fmt.Errorf("read lock in %s: %w; remove the file if no process runs this pipeline", lake, &hudi.CorruptError{File: name, Err: err})
	}
	return l, v, nil
}

// Alive reports whether the holder, on this host, still runs; on another host it cannot tell and says yes.
func (l *Lock) Alive() bool {
	host, err := os.Hostname()
	if err != nil || host != l.Host {
		return true
	}
	return !errors.Is(syscall.Kill(l.PID, 0), syscall.ESRCH)
}

// alone is how a pipeline writes to its tables: its lock in the lake proves that every other
// writer of them is dead, so that what one left pending is taken up at once.
var alone = hudi.Concurrency{Exclusive: true}

// held is a lock that this process has.
type held struct {
	lake storage.Store
	name string
	lost chan struct{} // closed when another process took it

	mu      sync.Mutex
	lock    Lock
	version storage.Version
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// acquire takes the lock of a pipeline. A dead holder's is taken over, a living one is a *LockedError.
// While it is not known which of both it is, the log says so now and then.
func acquire(ctx context.Context, lake storage.Store, pipeline, address string, log *slog.Logger) (*held, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("take lock: %w", err)
	}
	h := &held{
		lake: lake, name: lockName(pipeline), lost: make(chan struct{}),
		lock: Lock{ID: uuid.NewString(), Host: host, PID: os.Getpid(), Address: address, Since: time.Now().UTC()},
	}
	deadline := time.Now().Add(lockWait)
	var seen *Lock
	var since, told time.Time
	for {
		l, v, err := readLock(ctx, lake, h.name)
		if err != nil {
			return nil, err
		}
		free := l == nil || !l.Alive() || l.PID == os.Getpid() && !runsHere(l.ID)
		if !free && (seen == nil || *seen != *l) {
			if seen != nil && seen.ID == l.ID {
				return nil, &LockedError{Pipeline: pipeline, Holder: *l} // it beat while we looked
			}
			seen, since = l, time.Now()
		}
		if free || seen != nil && time.Since(since) > lockStale {
			if err := h.write(ctx, l == nil, v); err == nil {
				break
			} else if !errors.Is(err, storage.ErrExist) && !errors.Is(err, storage.ErrConflict) {
				return nil, err
			}
			continue // another was faster
		}
		if time.Now().After(deadline) {
			return nil, &LockedError{Pipeline: pipeline, Holder: *l}
		}
		if time.Since(told) >= lockTell {
			told = time.Now()
			log.Warn(fmt.Sprintf("waiting to see whether process %d on %s, which holds pipeline %s, still lives, up to %d s",
				l.PID, l.Host, pipeline, int(math.Ceil((lockStale - time.Since(since)).Seconds()))))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockBeat / 5):
		}
	}
	here.Store(h.lock.ID, true)
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	h.done.Go(func() { h.beat(beating) })
	return h, nil
}

// here has the ids of the locks that this process holds: a test process runs several pipelines.
var here sync.Map

func runsHere(id string) bool { _, ok := here.Load(id); return ok }

func (h *held) write(ctx context.Context, create bool, v storage.Version) error {
	b, err := json.Marshal(h.lock)
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if create {
		if err = h.lake.PutIfAbsent(ctx, h.name, b); err == nil {
			_, h.version, err = readLock(ctx, h.lake, h.name)
		}
	} else {
		var next storage.Version
		if next, err = h.lake.PutIfMatch(ctx, h.name, b, v); err == nil {
			h.version = next
		}
	}
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// beat renews the lock until it is released or lost.
func (h *held) beat(ctx context.Context) {
	tick := time.NewTicker(lockBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if h.taken(ctx, h.renew(ctx)) {
			close(h.lost)
			return
		}
	}
}

// renew writes the next beat.
func (h *held) renew(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lock.Beat++
	return h.write(ctx, false, h.version)
}

// taken reports whether a beat failed because another process has the lock. A beat
// that was written although it failed is ours all the same.
func (h *held) taken(ctx context.Context, err error) bool {
	if !errors.Is(err, storage.ErrConflict) && !errors.Is(err, storage.ErrNotExist) {
		return false
	}
	l, v, err := readLock(ctx, h.lake, h.name)
	if err != nil {
		return false // the next beat will tell
	}
	if l != nil && l.ID == h.lock.ID {
		h.version = v
		return false
	}
	return true
}

// isOurs reports whether the lake says that the lock is this process's.
func (h *held) isOurs(ctx context.Context) (bool, error) {
	l, _, err := readLock(ctx, h.lake, h.name)
	return l != nil && l.ID == h.lock.ID, err
}

// release gives the lock back.
func (h *held) release(ctx context.Context) error {
	h.stop()
	h.done.Wait()
	here.Delete(h.lock.ID)
	select {
	case <-h.lost:
		return nil // it is another's now
	default:
	}
	if l, _, err := readLock(ctx, h.lake, h.name); err != nil || l == nil || l.ID != h.lock.ID {
		return err
	}
	return h.lake.Delete(ctx, h.name)
}

// holding is a context that ends when the lock is lost or ctx ends.
func (h *held) holding(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-h.lost:
		case <-ctx.Done():
		}
	}()
	return ctx
}
