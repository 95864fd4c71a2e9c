package hudi

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
)

// TestCompactInSteps compacts for a time a table that has other writers, one of which writes while the first file group is
// compacted: what is planned and published is all there, as writers of other engines may have logged on each file group of a plan.
func TestCompactInSteps(t *testing.T) {
	t.Parallel()
	const buckets = 5
	for _, c := range []struct {
		time time.Duration
		done bool
	}{{1, false}, {time.Hour, true}} {
		t.Run(c.time.String(), func(t *testing.T) {
			t.Parallel()
			s := &shared{store: newStore(t), typ: MergeOnRead, buckets: buckets, lock: testLocks["process"]}
			s.set = func(o *Options) { o.Concurrency.RetryFor = time.Nanosecond } // to give way at once
			writer := s.create(t)
			rows := map[string]modelRow{}
			for n := range 40 {
				rows[fmt.Sprint("k", n)] = modelRow{seq: 1}
			}
			mustUpsert(t, writer, rows)
			mustUpsert(t, writer, rows)
			var met atomic.Int32
			s.set = func(o *Options) {
				o.Hook = func(phase string) {
					if phase != "data file" || !met.CompareAndSwap(0, 1) {
						return
					}
					for n := range 40 { // those of the file group at work are refused
						key := fmt.Sprint("k", n)
						row := map[string]modelRow{key: {seq: 2}}
						_, err := writer.Upsert(t.Context(), modelBatch([]string{key}, row, writer.Schema()))
						if err == nil {
							rows[key] = row[key]
							met.Add(1)
						}
					}
				}
			}
			services := s.open(t, s.store)
			if _, err := services.Compact(t.Context(), CompactOptions{MaxTime: c.time}); err != nil {
				t.Fatal(err)
			}
			if n := met.Load(); n < 20 {
				t.Errorf("the other writer wrote %d rows meanwhile", n-1)
			}
			logged := slices.DeleteFunc(services.Slices(), func(s *FileSlice) bool { return len(s.Logs) == 0 })
			if n := len(logged); c.done && n > 0 || !c.done && n != buckets-1 {
				t.Errorf("%d file groups have logs", n)
			}
			checkPlans(t, services)
			compareRows(t, mustRead(t, services, ReadOptions{}), rows)
		})
	}
}

// checkPlans sees that each compaction published all that it had planned.
func checkPlans(t *testing.T, table *Table) {
	t.Helper()
	n := 0
	for _, i := range table.Timeline().Completed() {
		if i.Action != timeline.Compaction {
			continue
		}
		n++
		planned, err := table.compactionGroups(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		m, err := table.readCommit(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		wrote := 0
		for _, stats := range m.PartitionToWriteStats {
			wrote += len(stats)
		}
		if wrote != len(planned) {
			t.Errorf("compaction %s planned %d file groups, and published %d", i.Time, len(planned), wrote)
		}
	}
	if n == 0 {
		t.Error("there was no compaction")
	}
}
