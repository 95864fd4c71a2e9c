package hudi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/timeline"
)

// TestCompactOptions sees when a compaction is due, and of which file groups.
func TestCompactOptions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	now := time.Now()
	table, err := Create(ctx, newStore(t), CreateOptions{
		Name: "model", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: 4, Now: func() time.Time { return now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	// One key in each bucket, and the more log bytes the higher the bucket.
	keys := make([]string, 4)
	rows := map[string]modelRow{}
	for n := 0; len(rows) < 4; n++ {
		k := fmt.Sprint("k", n)
		if b := table.Bucket(k); keys[b] == "" {
			keys[b], rows[k] = k, modelRow{data: strings.Repeat("x", 500*b)}
		}
	}
	mustUpsert(t, table, rows)
	for n := range 3 {
		now = now.Add(time.Minute)
		for k, r := range rows {
			r.seq = int64(n)
			rows[k] = r
		}
		mustUpsert(t, table, rows)
	}
	compact := func(opts CompactOptions, want ...int) {
		t.Helper()
		at, err := table.Compact(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, s := range table.Slices() {
			if s.Instant == at {
				b, err := bucketOfFileID(s.FileID)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: compacted buckets %v in %s, want %v", opts, got, at, want)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), rows)
	}
	compact(CompactOptions{MinDeltaCommits: 5})
	compact(CompactOptions{MinDeltaCommits: 4, MinAge: 4 * time.Minute})
	compact(CompactOptions{MinLogBytes: 1 << 20})
	compact(CompactOptions{MaxBytes: 1}, 3)
	compact(CompactOptions{MinDeltaCommits: 2, MaxGroups: 1}) // only what it left
	compact(CompactOptions{MinLogBytes: logBytes(table.Slices()[2]), MaxGroups: 5}, 2)
	compact(CompactOptions{MaxGroups: 1}, 1)
	compact(CompactOptions{}, 0)
	compact(CompactOptions{})
	mustUpsert(t, table, rows)
	now = now.Add(time.Second)
	compact(CompactOptions{MinAge: 2 * time.Second})
	now = now.Add(2 * time.Second)
	compact(CompactOptions{MinAge: 2 * time.Second}, 0, 1, 2, 3)
	if _, err := table.Compact(ctx, CompactOptions{MaxBytes: -1}); err == nil {
		t.Error("a negative bound is accepted")
	}
}

// TestCompactBesideCompaction plans a compaction while another one is at work: it leaves
// that one's file groups alone.
func TestCompactBesideCompaction(t *testing.T) {
	t.Parallel()
	at := newPause("data file")
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	one := s.create(t)
	a, b := twoKeys(one)
	rows := map[string]modelRow{a: {seq: 1}, b: {seq: 1}}
	mustUpsert(t, one, rows)
	rows[a] = modelRow{seq: 2}
	mustUpsert(t, one, map[string]modelRow{a: rows[a]})
	s.set = func(o *Options) { o.Hook = at.hook }
	compactor := s.open(t, s.store)
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := compactor.Compact(t.Context(), CompactOptions{}); err != nil {
			t.Errorf("compact: %v", err)
		}
	})
	<-at.reached
	if instant, err := one.Compact(t.Context(), CompactOptions{}); err != nil || instant != "" {
		t.Errorf("compacted in %q, %v: the only file group with log files is being compacted", instant, err)
	}
	rows[b] = modelRow{seq: 3}
	mustUpsert(t, one, map[string]modelRow{b: rows[b]})
	instant, err := one.Compact(t.Context(), CompactOptions{})
	if err != nil || instant == "" {
		t.Errorf("compacted in %q, %v: want the other file group's", instant, err)
	}
	close(at.goOn)
	done.Wait()
	if err := one.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, slice := range one.Slices() {
		if len(slice.Logs) > 0 {
			t.Errorf("%s has log files", slice.Group())
		}
	}
	compareRows(t, mustRead(t, one, ReadOptions{}), rows)
}

// TestRunServices lets services run on a Table of their own, beside a writer that knows
// nothing of them.
func TestRunServices(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	table := s.create(t)
	opts := ServicesOptions{
		Compact: &CompactOptions{MaxGroups: 2}, Clean: &CleanOptions{RetainCommits: 3},
		Archive: &ArchiveOptions{KeepMin: 4, KeepMax: 6}, Every: time.Millisecond,
	}
	services := s.open(t, s.store)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- services.RunServices(ctx, opts) }()
	a, b := twoKeys(table)
	n := int64(0)
	for done := (map[timeline.Action]bool{}); len(done) < 2; n++ {
		if n > 500 {
			t.Fatalf("after %d commits: %v", n, table.Timeline().Instants())
		}
		mustUpsert(t, table, map[string]modelRow{a: {seq: n}, b: {seq: n}})
		for _, i := range table.Timeline().Instants() {
			if i.State == timeline.Completed && (i.Action == timeline.Clean || i.Action == timeline.Compaction) {
				done[i.Action] = true
			}
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the services ended with %v", err)
	}
	if err := services.RunServicesOnce(t.Context(), opts); err != nil { // and ends what was broken off
		t.Error(err)
	}
	if err := table.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := table.Timeline().Pending(); len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{a: {seq: n - 1}, b: {seq: n - 1}})
	alone := newTable(t, newStore(t), MergeOnRead, 1)
	if err := alone.RunServices(t.Context(), opts); err == nil {
		t.Error("services run beside a writer that does not expect it")
	}
}

// TestPinnedReadLasts reads as of an old instant, a row at a time, while a writer goes on
// and services compact and clean what is left of that instant's files fifty times.
func TestPinnedReadLasts(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 2, lock: testStorageLock}
	writer := s.create(t)
	services, reader := s.open(t, s.store), s.open(t, s.store)
	rows := map[string]modelRow{}
	for n := range 52 {
		rows[fmt.Sprint("k", n)] = modelRow{seq: 1}
	}
	old := mustUpsert(t, writer, rows)
	if err := reader.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for batch, err := range reader.Read(t.Context(), ReadOptions{AsOf: old, Pin: time.Minute, BatchRows: 1}) {
		if err != nil {
			t.Fatalf("after %d rows: %v", len(got), err)
		}
		for i := range int(batch.NumRows()) {
			got[batch.Column(0).(*array.String).Value(i)] = batch.Column(5).(*array.Int64).Value(i)
		}
		for k := range rows {
			rows[k] = modelRow{seq: int64(1 + len(got))}
		}
		mustUpsert(t, writer, rows)
		opts := ServicesOptions{Compact: &CompactOptions{}, Clean: &CleanOptions{RetainCommits: 1}}
		if err := services.RunServicesOnce(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
	}
	for k := range rows {
		if got[k] != 1 {
			t.Errorf("row %s: seq %d, want 1", k, got[k])
		}
	}
	if res := mustClean(t, services); res.Files < 50 {
		t.Errorf("%d files were cleaned when the reader had ended; want those of 50 compactions", res.Files)
	}
	if _, err := readModel(t.Context(), services, ReadOptions{AsOf: old}); !errors.Is(err, ErrCleaned) {
		t.Errorf("as of what is cleaned: %v", err)
	}
	compareRows(t, mustRead(t, services, ReadOptions{}), rows)
}
