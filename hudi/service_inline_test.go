package hudi

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage/storagetest"
)

// completed counts the completed instants of an action.
func completed(t *Table, a timeline.Action) (n int) {
	for _, i := range t.Timeline().Instants() {
		if i.Action == a && i.State == timeline.Completed {
			n++
		}
	}
	return n
}

// TestInlineServices writes often: what the options leave to the default, or ask for, runs
// behind the commits; what they leave out does not.
func TestInlineServices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		services                             *ServicesOptions
		compactions, deltas, files, replaced int // at least, at most, at most, at least
	}{
		"default": {nil, 2, 30, 40, 0},
		"none":    {&ServicesOptions{}, 0, 30, 30, 0},
		"often": {&ServicesOptions{
			Compact: &CompactOptions{MinDeltaCommits: 2}, Clean: &CleanOptions{RetainCommits: 1}, Archive: &ArchiveOptions{KeepMin: 2, KeepMax: 4},
		}, 1, 3, 6, 0},
		"clustered": {&ServicesOptions{Cluster: &ClusterOptions{SortBy: []string{"seq"}, MinCommits: 3}}, 0, 30, 60, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newStore(t)
			table, err := Create(t.Context(), store, CreateOptions{
				Name: "model", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq", Options: Options{Services: c.services},
			})
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string]modelRow{}
			for n := range 30 {
				change := map[string]modelRow{fmt.Sprint("k", n%7): {seq: int64(n)}}
				maps.Copy(rows, change)
				mustUpsert(t, table, change)
			}
			if n := completed(table, timeline.Compaction); n < c.compactions || c.compactions == 0 && n > 0 {
				t.Errorf("%d compactions, want %d", n, c.compactions)
			}
			if n := completed(table, timeline.DeltaCommit); n > c.deltas {
				t.Errorf("%d delta commits, want %d at most", n, c.deltas)
			}
			if n := completed(table, timeline.ReplaceCommit); n < c.replaced || c.replaced == 0 && n > 0 {
				t.Errorf("%d clusterings, want %d", n, c.replaced)
			}
			files := 0
			for info, err := range store.List(t.Context(), "", true) {
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := parseDataFile(info.Name, info.Size); ok && !strings.HasPrefix(info.Name, metaFolder) {
					files++
				}
			}
			if files > c.files {
				t.Errorf("%d data files, want %d at most", files, c.files)
			}
			compareRows(t, mustRead(t, table, ReadOptions{}), rows)
			report, err := Check(t.Context(), store, CheckOptions{})
			if err != nil || !report.Sound() {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

// TestInlineServiceFails: the commit stands, the options hear of it, and the next commit
// ends what was begun.
func TestInlineServiceFails(t *testing.T) {
	t.Parallel()
	inner := newStore(t)
	store := storagetest.NewFaulty(inner, storagetest.Fault{At: 1, Only: func(c storagetest.Call) bool {
		return strings.HasSuffix(c.Name, ".compaction.inflight")
	}})
	var failed error
	services := &ServicesOptions{Compact: &CompactOptions{MinDeltaCommits: 2}, Failed: func(err error) { failed = errors.Join(failed, err) }}
	table, err := Create(t.Context(), store, CreateOptions{
		Name: "model", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq", Options: Options{Services: services},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]modelRow{}
	for n := range 4 {
		rows["a"] = modelRow{seq: int64(n)}
		if at := mustUpsert(t, table, rows); !table.Timeline().IsCompleted(at) {
			t.Errorf("%s is not completed", at)
		}
		if (failed != nil) != (n >= 1) {
			t.Errorf("after %d commits: %v", n+1, failed)
		}
	}
	if !errors.Is(failed, storagetest.ErrFault) {
		t.Errorf("%v; want what the store said", failed)
	}
	if n := completed(table, timeline.Compaction); n != 2 || len(table.Timeline().Pending()) > 0 {
		t.Errorf("%d compactions; pending: %v", n, table.Timeline().Pending())
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), rows)
}

// TestInlineServicesBesideWriters lets two writers, each with services of its own, write
// by turns.
func TestInlineServicesBesideWriters(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 2, lock: testStorageLock}
	s.set = func(o *Options) {
		o.Services = &ServicesOptions{
			Compact: &CompactOptions{MinDeltaCommits: 2}, Clean: &CleanOptions{RetainCommits: 2}, Archive: &ArchiveOptions{KeepMin: 3, KeepMax: 5},
			Failed: func(err error) { t.Error(err) },
		}
	}
	writers := []*Table{s.create(t), s.open(t, s.store)}
	rows := map[string]modelRow{}
	for n := range 20 {
		change := map[string]modelRow{fmt.Sprint("k", n%5): {seq: int64(n)}}
		maps.Copy(rows, change)
		mustUpsert(t, writers[n%2], change)
	}
	last := s.open(t, s.store)
	if n := len(last.Timeline().Completed()); n > 7 || completed(last, timeline.Compaction) == 0 {
		t.Errorf("%v", last.Timeline().Instants())
	}
	compareRows(t, mustRead(t, last, ReadOptions{}), rows)
}

// TestServiceTimes bounds how long services take: what is begun is published, and the rest
// stays as it is.
func TestServiceTimes(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 4)
	rows := map[string]modelRow{}
	for n := range 40 {
		rows[fmt.Sprint("k", n)] = modelRow{}
	}
	for range 2 {
		mustUpsert(t, table, rows)
	}
	logged := func() (n int) {
		for _, s := range table.Slices() {
			if len(s.Logs) > 0 {
				n++
			}
		}
		return n
	}
	for left := 3; left >= 0; left-- {
		if _, err := table.Compact(t.Context(), CompactOptions{MaxTime: 1}); err != nil || logged() != left {
			t.Fatalf("%d file groups have logs, want %d: %v", logged(), left, err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), rows)
	}
	res, err := table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"seq"}, MaxTime: 1})
	if err != nil || res.Replaced != 1 || res.Written != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err = table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"seq"}, MinCommits: 1}); err != nil || res.Instant != "" {
		t.Errorf("clustered without a commit since the last time: %+v, %v", res, err)
	}
	mustUpsert(t, table, rows)
	if res, err = table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"seq"}, MinCommits: 1, MaxTime: time.Hour}); err != nil || res.Replaced != 4 {
		t.Errorf("%+v, %v", res, err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), rows)
	report, err := Check(t.Context(), store, CheckOptions{})
	if err != nil || !report.Sound() {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestServicesFrom takes services from options with the names of Hudi's.
func TestServicesFrom(t *testing.T) {
	t.Parallel()
	compact, clean, archive := CompactOptions{MinDeltaCommits: 10}, CleanOptions{RetainCommits: 10}, ArchiveOptions{}
	for name, c := range map[string]struct {
		conf map[string]string
		want ServicesOptions
		says string
	}{
		"none":   {nil, ServicesOptions{Compact: &compact, Clean: &clean, Archive: &archive}, ""},
		"others": {map[string]string{"hoodie.index.type": "SIMPLE", "path": "x"}, ServicesOptions{Compact: &compact, Clean: &clean, Archive: &archive}, ""},
		"off":    {map[string]string{"hoodie.compact.inline": "false", "hoodie.clean.automatic": "FALSE", "hoodie.archive.automatic": "false"}, ServicesOptions{}, ""},
		"by time": {
			map[string]string{"hoodie.compact.inline.trigger.strategy": "time_elapsed", "hoodie.compact.inline.max.delta.seconds": "60", "hoodie.clean.policy": "KEEP_LATEST_BY_HOURS"},
			ServicesOptions{Compact: &CompactOptions{MinDeltaCommits: 1, MinAge: time.Minute}, Clean: &CleanOptions{Retain: 24 * time.Hour}, Archive: &archive},
			"",
		},
		"by either, small": {
			map[string]string{
				"hoodie.compact.inline.trigger.strategy": "NUM_OR_TIME", "hoodie.compact.inline.max.delta.commits": " 3",
				"hoodie.compaction.target.io": "100", "hoodie.compaction.logfile.size.threshold": "1024",
				"hoodie.cleaner.policy": "KEEP_LATEST_FILE_VERSIONS", "hoodie.cleaner.fileversions.retained": "2", "hoodie.keep.min.commits": "20", "hoodie.keep.max.commits": "30",
			},
			ServicesOptions{
				Compact: &CompactOptions{MinDeltaCommits: 3, MinAge: time.Hour, Either: true, MaxBytes: 100 << 20, MinLogBytes: 1024},
				Clean:   &CleanOptions{RetainVersions: 2}, Archive: &ArchiveOptions{KeepMin: 20, KeepMax: 30},
			},
			"",
		},
		"clustered": {
			map[string]string{"hoodie.clustering.inline": "true", "hoodie.clustering.inline.max.commits": "7", "hoodie.clustering.plan.strategy.sort.columns": "a, b"},
			ServicesOptions{Compact: &compact, Cluster: &ClusterOptions{MinCommits: 7, SortBy: []string{"a", "b"}}, Clean: &clean, Archive: &archive},
			"",
		},
		"unknown":       {map[string]string{"hoodie.clean.async": "true"}, ServicesOptions{}, "hoodie.clean.async: nothing here answers"},
		"no number":     {map[string]string{"hoodie.clean.hours.retained": "1h"}, ServicesOptions{}, "hoodie.clean.hours.retained"},
		"too large":     {map[string]string{"hoodie.compaction.target.io": "99999999999999"}, ServicesOptions{}, "no number that it could have"},
		"no truth":      {map[string]string{"hoodie.compact.inline": "maybe"}, ServicesOptions{}, "neither true nor false"},
		"no policy":     {map[string]string{"hoodie.clean.policy": "ALL"}, ServicesOptions{}, "KEEP_LATEST_COMMITS"},
		"contradiction": {map[string]string{"hoodie.clean.commits.retained": "30", "hoodie.keep.min.commits": "20"}, ServicesOptions{}, "want more than the 30 commits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ServicesFrom(c.conf)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v; want %q", err, c.says)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), newStore(t), Options{Services: &ServicesOptions{Compact: &CompactOptions{MaxTime: -1}}}); err == nil || !strings.Contains(err.Error(), "less than nothing") {
		t.Errorf("%v", err)
	}
}
