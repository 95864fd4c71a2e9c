package lock_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/lock/locktest"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/mem"
)

// lineStore is a store at the end of a line.
type lineStore struct {
	storage.Store
	line *locktest.Line
}

func (s lineStore) Get(ctx context.Context, name string) (data []byte, v storage.Version, err error) {
	err = s.line.Pass(func() (err error) { data, v, err = s.Store.Get(ctx, name); return err })
	return data, v, err
}

func (s lineStore) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return s.line.Pass(func() error { return s.Store.PutIfAbsent(ctx, name, data) })
}

func (s lineStore) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (next storage.Version, err error) {
	err = s.line.Pass(func() (err error) { next, err = s.Store.PutIfMatch(ctx, name, data, v); return err })
	return next, err
}

func (s lineStore) Delete(ctx context.Context, name string) error {
	return s.line.Pass(func() error { return s.Store.Delete(ctx, name) })
}

func (s lineStore) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	err := s.line.Pass(func() error { return nil })
	return func(yield func(storage.Info, error) bool) {
		if err != nil {
			yield(storage.Info{}, err)
			return
		}
		s.Store.List(ctx, folder, recursive)(yield)
	}
}

// lockPlace is a lock in a store.
type lockPlace struct {
	store storage.Store
	open  func(storage.Store, *locktest.Clock) lock.Locker
	file  string
	other string // what another's lock looks like
}

func (p *lockPlace) Locker(line *locktest.Line, clock *locktest.Clock) lock.Locker {
	return p.open(lineStore{p.store, line}, clock)
}

func (p *lockPlace) Steal(t *testing.T) {
	if err := p.store.Put(t.Context(), p.file, []byte(p.other)); err != nil {
		t.Fatal(err)
	}
}

func storageLock(s storage.Store, clock *locktest.Clock) lock.Locker {
	return lock.NewStorage(s, lock.StorageOptions{
		Validity: locktest.Term, Renew: locktest.Renew, Poll: locktest.Poll, Now: clock.Now,
	})
}

func fileLock(s storage.Store, clock *locktest.Clock) lock.Locker {
	return lock.NewFile(s, lock.FileOptions{Expire: locktest.Term, Poll: locktest.Poll, Now: clock.Now})
}

func lockStores(t *testing.T) map[string]func(t *testing.T) storage.Store {
	t.Helper()
	return map[string]func(t *testing.T) storage.Store{
		"mem": func(*testing.T) storage.Store { return mem.New() },
		"file": func(t *testing.T) storage.Store {
			s, err := file.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
}

func TestStorageLock(t *testing.T) {
	t.Parallel()
	for name, open := range lockStores(t) {
		t.Run(name, func(t *testing.T) {
			locktest.Run(t, locktest.Options{}, func(t *testing.T) locktest.Place {
				other := fmt.Sprintf(`{"expired":false,"validUntil":%d,"owner":"thief"}`, time.Now().Add(time.Hour).UnixMilli())
				return &lockPlace{open(t), storageLock, ".hoodie/.locks/table_lock.json", other}
			})
		})
	}
}

func TestFileLock(t *testing.T) {
	t.Parallel()
	for name, open := range lockStores(t) {
		t.Run(name, func(t *testing.T) {
			locktest.Run(t, locktest.Options{OwnClock: name == "file"}, func(t *testing.T) locktest.Place {
				return &lockPlace{open(t), fileLock, ".hoodie/lock", `{"lockThreadName":"thief"}`}
			})
		})
	}
}

// processPlace is a lock of this process.
type processPlace string

func (p processPlace) Locker(*locktest.Line, *locktest.Clock) lock.Locker {
	return lock.NewProcess(string(p))
}

func (processPlace) Steal(*testing.T) {}

func TestProcessLock(t *testing.T) {
	t.Parallel()
	locktest.Run(t, locktest.Options{NoExpiry: true, NoSteal: true}, func(t *testing.T) locktest.Place {
		return processPlace(t.Name())
	})
}

// TestFileLockStays sees that without Expire nobody takes the lock of a dead holder.
func TestFileLockStays(t *testing.T) {
	t.Parallel()
	store := mem.New()
	clock := new(locktest.Clock)
	open := func() lock.Locker {
		return lock.NewFile(store, lock.FileOptions{Poll: locktest.Poll, Now: clock.Now})
	}
	if _, err := open().Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.Jump(1000 * time.Hour)
	ctx, stop := context.WithTimeout(t.Context(), 10*locktest.Poll)
	defer stop()
	if _, err := open().Lock(ctx); err == nil || !strings.Contains(err.Error(), "lakefeed ") {
		t.Fatalf("Lock returned %v; want the holder", err)
	}
}

// TestStorageLockForm looks at the file that is written, and takes what Hudi writes.
func TestStorageLockForm(t *testing.T) {
	t.Parallel()
	store := mem.New()
	clock := new(locktest.Clock)
	lease, err := storageLock(store, clock).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func() string {
		data, _, err := store.Get(t.Context(), ".hoodie/.locks/table_lock.json")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var until int64
	var owner string
	if n, err := fmt.Sscanf(read(), `{"expired":false,"validUntil":%d,"owner":%q}`, &until, &owner); n != 2 || err != nil || len(owner) != 36 {
		t.Errorf("held, the file is %s", read())
	}
	if in := time.Until(time.UnixMilli(until)); in <= 0 || in > locktest.Term {
		t.Errorf("valid for another %v", in)
	}
	if err := lease.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := fmt.Sscanf(read(), `{"expired":true,"validUntil":%d,"owner":%q}`, &until, &owner); n != 2 || err != nil {
		t.Errorf("given back, the file is %s", read())
	}
	for text, free := range map[string]bool{
		`{"owner":"a","validUntil":1,"expired":false,"new":{}}`:     true,
		`{"owner":"a","validUntil":99999999999999,"expired":true}`:  true,
		`{"owner":"a","validUntil":99999999999999,"expired":false}`: false,
		`{"owner":"a","validUntil":99999999999999}`:                 false,
		`{"owner":null,"validUntil":1,"expired":false}`:             false,
		``:                           false,
		`{"owner":"a","validUntil":`: false,
	} {
		if err := store.Put(t.Context(), ".hoodie/.locks/table_lock.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 5*locktest.Poll)
		lease, err := storageLock(store, clock).Lock(ctx)
		stop()
		if (err == nil) != free {
			t.Errorf("%s: Lock returned %v", text, err)
		}
		if err == nil {
			if err := lease.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func FuzzLockRecord(f *testing.F) {
	f.Add([]byte(`{"expired":false,"validUntil":1,"owner":"a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		store := mem.New()
		if err := store.Put(t.Context(), ".hoodie/.locks/table_lock.json", data); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		l := storageLock(store, new(locktest.Clock))
		if lease, err := l.Lock(ctx); err == nil {
			if err := lease.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// childLock is what TestLockProcesses asks of a process of its own.
const childLock = "LAKEFEED_LOCK_CHILD"

// TestLockChild is the part of TestLockProcesses that runs in other processes: it
// counts in a file, again and again, holding the lock.
func TestLockChild(t *testing.T) {
	kind, dir, ok := strings.Cut(os.Getenv(childLock), ":")
	if !ok {
		t.Skip("started by TestLockProcesses")
	}
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := map[string]func(storage.Store, *locktest.Clock) lock.Locker{"storage": storageLock, "file": fileLock}[kind](store, new(locktest.Clock))
	counter := filepath.Join(dir, "count")
	for range 10 {
		lease, err := l.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(counter)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(counter, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if os.Getenv("LAKEFEED_LOCK_HANG") != "" {
			_, _ = os.Stdout.WriteString("holding\n")
			select {}
		}
		if err := lease.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func lockChild(t *testing.T, kind, dir string, env ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestLockChild$")
	cmd.Env = append(append(os.Environ(), childLock+"="+kind+":"+dir), env...)
	out := new(bytes.Buffer)
	cmd.Stderr = out
	return cmd, out
}

// TestLockProcesses lets processes race for a number, after one was killed that held
// the lock.
func TestLockProcesses(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"storage", "file"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "count"), []byte("0"), 0o600); err != nil {
				t.Fatal(err)
			}
			killed, _ := lockChild(t, kind, dir, "LAKEFEED_LOCK_HANG=1")
			said, err := killed.StdoutPipe()
			if err == nil {
				err = killed.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			for in := bufio.NewScanner(said); in.Scan() && in.Text() != "holding"; {
			}
			if err := killed.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = killed.Wait() // it was killed
			var cmds []*exec.Cmd
			var outs []*bytes.Buffer
			for range 3 {
				cmd, out := lockChild(t, kind, dir)
				cmd.Stdout = out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				cmds, outs = append(cmds, cmd), append(outs, out)
			}
			for i, cmd := range cmds {
				if err := cmd.Wait(); err != nil {
					t.Errorf("%v\n%s", err, outs[i])
				}
			}
			text, err := os.ReadFile(filepath.Join(dir, "count"))
			if err != nil || string(text) != "31" {
				t.Errorf("counted %s, %v; want 31", text, err)
			}
		})
	}
}
