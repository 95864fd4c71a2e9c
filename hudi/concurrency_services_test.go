package hudi

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// eachLock runs a test with every lock that needs no server, and both types of table.
func eachLock(t *testing.T, run func(t *testing.T, s *shared)) {
	t.Helper()
	for name, lock := range testLocks {
		for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
			t.Run(fmt.Sprintf("%s/%s", name, typ), func(t *testing.T) {
				t.Parallel()
				run(t, &shared{store: newStore(t), typ: typ, buckets: 2, lock: lock})
			})
		}
	}
}

// TestLayOutShared clusters and converts a table that several writers share: the plan of
// a transaction is none that it meets.
func TestLayOutShared(t *testing.T) {
	t.Parallel()
	eachLock(t, func(t *testing.T, s *shared) {
		ctx := t.Context()
		writer := s.create(t)
		rows := map[string]modelRow{}
		for n := range 20 {
			rows[fmt.Sprint("k", n)] = modelRow{name: strconv.Itoa(n % 3), seq: int64(n)}
		}
		mustUpsert(t, writer, rows)
		s.buckets = 0 // as the table says
		other := s.open(t, s.store)
		res, err := other.Cluster(ctx, ClusterOptions{SortBy: []string{"name"}})
		if err != nil || res.Replaced != 2 || res.Written != 2 {
			t.Fatalf("cluster: %+v, %v", res, err)
		}
		if err := other.Convert(ctx, ConvertOptions{Buckets: 3}); err != nil {
			t.Fatal(err)
		}
		rows["k0"] = modelRow{name: "later", seq: 100}
		mustUpsert(t, writer, map[string]modelRow{"k0": rows["k0"]})
		turned := CopyOnWrite
		if s.typ == CopyOnWrite {
			turned = MergeOnRead
		}
		for _, typ := range []TableType{turned, s.typ} {
			if err := other.Convert(ctx, ConvertOptions{Type: typ}); err != nil {
				t.Fatalf("to %s: %v", typ, err)
			}
		}
		if other.Buckets() != 3 || other.Type() != s.typ {
			t.Errorf("%d buckets, %s; want 3, %s", other.Buckets(), other.Type(), s.typ)
		}
		compareRows(t, mustRead(t, other, ReadOptions{}), rows)
		if report, err := Check(ctx, s.store, CheckOptions{}); err != nil || !report.Sound() {
			t.Errorf("%v, %v", err, report.Faults)
		}
	})
}

// TestServicesSayThatTheyLost sees that a service which is kept from its work all the time
// says so, the others having run, and does it in a later round.
func TestServicesSayThatTheyLost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	at := newPause("data file")
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 1, lock: testStorageLock}
	writer := s.create(t)
	rows := map[string]modelRow{"a": {seq: 1}}
	for range 4 {
		mustUpsert(t, writer, rows)
	}
	s.set = func(o *Options) { o.Hook = at.hook }
	compactor := s.open(t, s.store)
	s.set = func(o *Options) { o.Concurrency.RetryFor = 50 * time.Millisecond }
	services := s.open(t, s.store)
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := compactor.Compact(ctx, CompactOptions{}); err != nil {
			t.Errorf("compact: %v", err)
		}
	})
	<-at.reached
	opts := ServicesOptions{Cluster: &ClusterOptions{SortBy: []string{"name"}, MinCommits: 1}, Archive: &ArchiveOptions{KeepMin: 1, KeepMax: 2}}
	if err := services.RunServicesOnce(ctx, opts); !errors.As(err, new(*ConflictError)) {
		t.Errorf("beside a compaction of its file group: %v; want a conflict", err)
	}
	if n := len(services.Timeline().Completed()); n > 3 {
		t.Errorf("%d commits; want the archiving to have run", n)
	}
	close(at.goOn)
	done.Wait()
	if err := services.RunServicesOnce(ctx, opts); err != nil {
		t.Error(err)
	}
	if last, err := services.LastClustering(ctx); err != nil || last == "" {
		t.Errorf("clustered in %q, %v", last, err)
	}
	compareRows(t, mustRead(t, services, ReadOptions{}), rows)
}
