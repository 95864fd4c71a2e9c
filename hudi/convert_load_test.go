package hudi

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/internal/long"
	"lakefeed/storage"
)

// TestConvertUnderLoadLong converts a table back and forth, its number of buckets and its
// type, for ten seconds, while two writers go on and Lakefeed and hudi-rs read all the time:
// they see whole transactions, all that were acknowledged among them.
func TestConvertUnderLoadLong(t *testing.T) {
	long.Test(t)
	convertUnderLoad(t, 10*time.Second)
}

// TestConvertUnderLoadSoak does so for five minutes.
func TestConvertUnderLoadSoak(t *testing.T) {
	if !soak() {
		t.Skip("make soak runs it")
	}
	convertUnderLoad(t, 5*time.Minute)
}

func convertUnderLoad(t *testing.T, last time.Duration) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	s := &shared{store: fileStore(t, dir), typ: MergeOnRead, buckets: 8, lock: func(store storage.Store) lock.Locker {
		return lock.NewStorage(store, lock.StorageOptions{Poll: 2 * time.Millisecond})
	}, set: func(o *Options) {
		o.Services = &ServicesOptions{}
		o.Concurrency.RetryFor = time.Minute
	}}
	table := s.create(t)
	s.buckets = 0 // as the table says
	rs := findHudiRS(t)
	ledgers := soakLedgers{newSoakLedger("a-"), newSoakLedger("b-")}
	for _, l := range ledgers {
		if err := l.transact(t.Context(), table, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	var reads, foreign int
	beside.Go(func() { reads = ledgers.readOn(ctx, t, s.open(t, s.store)) })
	beside.Go(func() { foreign = ledgers.readForeign(ctx, t, rs, dir) })
	for _, l := range ledgers {
		writer := s.open(t, s.store)
		beside.Go(func() { l.writeOn(ctx, t, writer) })
	}
	converted := ledgers.convertUntil(t, s.open(t, s.store), time.Now().Add(last))
	stop()
	beside.Wait()
	conflicts := ledgers.conflicts()
	t.Logf("%d conversions, %v transactions, %d conflicts, %d reads, %d of hudi-rs", converted, ledgers.acked(), conflicts, reads, foreign)
	if conflicts == 0 || reads == 0 || foreign == 0 && rs != "" {
		t.Errorf("%d conflicts, %d reads, %d of hudi-rs: want some of each", conflicts, reads, foreign)
	}
	ledgers.checkConverted(t, s)
}

// transact writes the writer's transaction n.
func (l *soakLedger) transact(ctx context.Context, table *Table, n int) error {
	l.begun.Store(int64(n))
	if err := l.write(ctx, table, n); err != nil {
		return fmt.Errorf("transaction %d of %s: %w", n, l.prefix, err)
	}
	l.acked.Store(int64(n))
	return nil
}

// writeOn goes on with the writer's transactions, each of which comes to its end. Its pauses
// leave the other writer room: they change the same file groups.
func (l *soakLedger) writeOn(ctx context.Context, t *testing.T, table *Table) {
	for n := 2; ctx.Err() == nil; n++ {
		pauseFor(ctx, 50*time.Millisecond)
		if err := l.transact(t.Context(), table, n); err != nil {
			t.Error(err)
			return
		}
	}
}

// conflicts are how often a transaction had to begin anew.
func (s soakLedgers) conflicts() (n int64) {
	for _, l := range s {
		n += l.tries.Load() - l.acked.Load()
	}
	return n
}

// convertUntil converts the table again and again, at least once to each of what it may be.
// Between two conversions each writer has committed something.
func (s soakLedgers) convertUntil(t *testing.T, table *Table, until time.Time) (done int) {
	for steps := []ConvertOptions{
		{Buckets: 5},
		{Type: CopyOnWrite},
		{Buckets: 8},
		{Type: MergeOnRead},
		{Type: CopyOnWrite, Buckets: 3},
		{Type: MergeOnRead, Buckets: 8},
	}; done < len(steps) || time.Now().Before(until); done++ {
		s.awaitCommits(t)
		opts := steps[done%len(steps)]
		err := table.Retry(t.Context(), func(ctx context.Context) error { return table.Convert(ctx, opts) })
		if err != nil {
			t.Errorf("to %+v: %v", opts, err)
		}
		if t.Failed() {
			return done
		}
	}
	return done
}

// awaitCommits waits until each writer has committed a transaction.
func (s soakLedgers) awaitCommits(t *testing.T) {
	t.Helper()
	before := s.acked()
	for i, l := range s {
		for l.acked.Load() == before[i] && !t.Failed() {
			pauseFor(t.Context(), 5*time.Millisecond)
		}
	}
}

// checkConverted holds the table at rest against the ledgers.
func (s soakLedgers) checkConverted(t *testing.T, shared *shared) {
	t.Helper()
	table := shared.open(t, shared.store)
	rows := mustRead(t, table, ReadOptions{})
	for i, l := range s {
		own := l.own(rows)
		if err := l.check("the end", s.acked()[i], own[l.prefix+"last"].seq, sumOf(own)); err != nil {
			t.Error(err)
		}
		compareRows(t, own, l.rows)
	}
	if err := table.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	for _, f := range mustCheck(t, shared.store, CheckOptions{}).Faults {
		if f.Severity != Note {
			t.Error(f)
		}
	}
}
