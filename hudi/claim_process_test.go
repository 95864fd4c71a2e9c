package hudi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/storage"
	"lakefeed/storage/file"
)

// soleChild has the folder of the table, the kind of writer and what its keys begin with.
const soleChild = "LAKEFEED_TEST_SOLE_CHILD"

// soleOptions are those of a writer that knows of no other, whose services come often.
func soleOptions() Options {
	return Options{Buckets: 1, Services: &ServicesOptions{
		Compact: &CompactOptions{MinDeltaCommits: 3},
		Clean:   &CleanOptions{RetainCommits: 3},
		Archive: &ArchiveOptions{KeepMin: 4, KeepMax: 6},
	}}
}

// TestSoleChild is the part of TestSoleProcesses that runs in other processes: it writes
// until it is killed, and says what is committed.
func TestSoleChild(t *testing.T) {
	dir, prefix, _ := strings.Cut(os.Getenv(soleChild), "\n")
	if dir == "" {
		t.Skip("started by TestSoleProcesses")
	}
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := openSole(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		if err := untilAlone(t.Context(), func() error { return upsertOne(t.Context(), table, key) }); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(os.Stdout, "committed", key); err != nil {
			t.Fatal(err)
		}
	}
}

func openSole(ctx context.Context, store storage.Store) (table *Table, err error) {
	err = untilAlone(ctx, func() error { table, err = Open(ctx, store, soleOptions()); return err })
	return table, err
}

// untilAlone tries again where another writer was met, or has taken a file away that was read.
func untilAlone(ctx context.Context, do func() error) error {
	for {
		err := do()
		if met := errors.As(err, new(*ConflictError)) || errors.Is(err, storage.ErrNotExist); !met {
			return err
		}
		if err := sleep(ctx, rand.N(20*time.Millisecond)); err != nil {
			return err
		}
	}
}

// soleWriters are processes that write to one table.
type soleWriters struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	acked []string
}

// start lets one write until it has told of n commits, and kills it then.
func (w *soleWriters) start(prefix string, n int) (ended <-chan error) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), os.Args[0], "-test.run", "^TestSoleChild$")
	cmd.Env = append(os.Environ(), soleChild+"="+w.dir+"\n"+prefix)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.follow(cmd, bufio.NewScanner(out), n) }()
	return done
}

func (w *soleWriters) follow(cmd *exec.Cmd, out *bufio.Scanner, n int) error {
	said, text, killed := 0, []string(nil), false
	for out.Scan() {
		key, ok := strings.CutPrefix(out.Text(), "committed ")
		if !ok {
			text = append(text, out.Text())
			continue
		}
		w.mu.Lock()
		w.acked = append(w.acked, key)
		w.mu.Unlock()
		if said++; said == n {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	err := cmd.Wait()
	if killed {
		return nil
	}
	return fmt.Errorf("a writer ended by itself: %w: %s", err, strings.Join(text, " "))
}

// TestSoleProcesses lets processes write to one table at once each of which is told that it
// is the only one, and kills each of them somewhere: whatever one said is committed is there.
func TestSoleProcesses(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		t.Parallel()
		dir := t.TempDir()
		store, err := file.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		newTable(t, store, typ, 1)
		each := 8
		if soak() {
			each = 400
		}
		w := &soleWriters{t: t, dir: dir}
		for round := range 2 {
			a, b := w.start(fmt.Sprint("a", round), each), w.start(fmt.Sprint("b", round), each)
			if err := errors.Join(<-a, <-b); err != nil {
				t.Fatal(err)
			}
		}
		w.verify(store)
	})
}

// verify sees that what was acknowledged is there. The dead do not keep the table.
func (w *soleWriters) verify(store storage.Store) {
	w.t.Helper()
	table, err := Open(w.t.Context(), store, soleOptions())
	if err == nil {
		err = table.Recover(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	rows := mustRead(w.t, table, ReadOptions{})
	missing := 0
	for _, key := range w.acked {
		if _, found := rows[key]; !found {
			missing++
			w.t.Errorf("row %s, which was acknowledged, is lost", key)
		}
	}
	w.t.Logf("%d rows acknowledged, %d of them missing", len(w.acked), missing)
	report, err := Check(w.t.Context(), store, CheckOptions{})
	if err != nil || !report.Sound() {
		w.t.Errorf("%v, %v", err, report.Faults)
	}
}
