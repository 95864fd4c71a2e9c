package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lakefeed/storage"
	memory "lakefeed/storage/mem"
)

const lockFile = "_lakefeed/lock/p"

func putLock(t *testing.T, lake storage.Store, l Lock) {
	t.Helper()
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := lake.Put(t.Context(), lockFile, b); err != nil {
		t.Fatal(err)
	}
}

// takeLock takes the lock and gives it back.
func takeLock(t *testing.T, lake storage.Store) (time.Duration, error) {
	t.Helper()
	var said bytes.Buffer
	started := time.Now()
	h, err := acquire(t.Context(), lake, "p", "127.0.0.1:1", slog.New(slog.NewTextHandler(&said, nil)))
	took := time.Since(started)
	if waited, n := int(took/lockTell), strings.Count(said.String(), "waiting to see whether process"); took > time.Second && n < max(1, waited) {
		t.Errorf("it waited for %s and said so %d times: %s", took, n, &said)
	}
	if err != nil {
		return took, err
	}
	l, err := ReadLock(t.Context(), lake, "p")
	if err != nil || l == nil || l.PID != os.Getpid() || l.Address != "127.0.0.1:1" {
		t.Fatalf("the lock says %+v, %v", l, err)
	}
	if err := h.release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l, err = ReadLock(t.Context(), lake, "p"); err != nil || l != nil {
		t.Fatalf("the lock was not given back: %+v, %v", l, err)
	}
	return took, nil
}

func hostname(t *testing.T) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func TestLockIsFree(t *testing.T) {
	if took, err := takeLock(t, memory.New()); err != nil || took > 5*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}

// TestLockOfDeadProcess is what a kill leaves.
func TestLockOfDeadProcess(t *testing.T) {
	lake := memory.New()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	putLock(t, lake, Lock{ID: "dead", Host: hostname(t), PID: cmd.Process.Pid})
	if took, err := takeLock(t, lake); err != nil || took > 5*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}

// TestLockOfDeadPipeline was left by a pipeline of this process, whose lake was gone when it ended.
func TestLockOfDeadPipeline(t *testing.T) {
	lake := memory.New()
	putLock(t, lake, Lock{ID: "dead", Host: hostname(t), PID: os.Getpid()})
	if took, err := takeLock(t, lake); err != nil || took > 5*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}

// TestLockOfLivingPipeline has two in one process.
func TestLockOfLivingPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lake := memory.New()
		h, err := acquire(t.Context(), lake, "p", "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		took, err := takeLock(t, lake)
		refused(t, err, strconv.Itoa(os.Getpid()), hostname(t), "pipeline p")
		if took > 2*lockBeat {
			t.Errorf("it was refused after %s", took)
		}
		if err := h.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := takeLock(t, lake); err != nil {
			t.Error(err)
		}
	})
}

func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if _, ok := errors.AsType[*LockedError](err); !ok {
		t.Fatalf("want a lock that is refused, got %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// TestLockOfBeatingHost and the next cannot ask whether the process lives.
func TestLockOfBeatingHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lake := memory.New()
		other := Lock{ID: "other", Host: "elsewhere", PID: 7}
		putLock(t, lake, other)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			for tick := time.NewTicker(lockBeat); ; {
				select {
				case <-tick.C:
					other.Beat++
					putLock(t, lake, other)
				case <-ctx.Done():
					tick.Stop()
					return
				}
			}
		}()
		_, err := takeLock(t, lake)
		refused(t, err, "7", "elsewhere")
	})
}

func TestLockOfSilentHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lake := memory.New()
		putLock(t, lake, Lock{ID: "other", Host: "elsewhere", PID: 7})
		if took, err := takeLock(t, lake); err != nil || took < lockStale || took > lockWait {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// TestLockLost has another take the lock of a process that could not beat.
func TestLockLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lake := memory.New()
		h, err := acquire(t.Context(), lake, "p", "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx := h.holding(t.Context())
		<-time.After(3 * lockBeat)
		if ctx.Err() != nil {
			t.Fatal("the lock was lost by itself")
		}
		other := Lock{ID: "other", Host: "elsewhere", PID: 7}
		putLock(t, lake, other)
		<-time.After(2 * lockBeat)
		if ctx.Err() == nil {
			t.Error("it does not know that it lost the lock")
		}
		if err := h.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l, err := ReadLock(t.Context(), lake, "p"); err != nil || l == nil || *l != other {
			t.Errorf("the other's lock is now %+v, %v", l, err)
		}
	})
}

func TestLockDamaged(t *testing.T) {
	lake := memory.New()
	if err := lake.Put(t.Context(), lockFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(t, lake); err == nil || !strings.Contains(err.Error(), lockFile) || !strings.Contains(err.Error(), "remove") {
		t.Errorf("got %v", err)
	}
}
