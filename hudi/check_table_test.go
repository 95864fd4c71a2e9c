package hudi

import (
	"bytes"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
)

// Tables that Spark wrote are sound.
func TestCheckGolden(t *testing.T) {
	t.Parallel()
	for _, name := range golden.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := file.Open(filepath.Join(golden.Unpack(t, name), "table"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Check(t.Context(), store, CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Faults {
				if f.Severity != Note {
					t.Errorf("%s", f)
				}
			}
			if r.Rows == 0 || r.BaseFiles == 0 {
				t.Errorf("looked at %+v", r)
			}
		})
	}
}

// mustCheck checks a table whose check can be made.
func mustCheck(t *testing.T, store storage.Store, opts CheckOptions) *CheckReport {
	t.Helper()
	r, err := Check(t.Context(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checked makes a merge-on-read table with a little of everything: base and log files,
// older slices, a savepoint, two partitions.
func checked(t *testing.T) (storage.Store, *Table) {
	t.Helper()
	store := newStore(t)
	table, err := Create(t.Context(), store, placeOptions(MergeOnRead))
	if err != nil {
		t.Fatal(err)
	}
	write := func(seq int64) {
		rows := []placeRow{{"a", "eu", 0, seq}, {"b", "eu", 0, seq}, {"c", "us", 0, seq}, {"d", "us", 0, seq}}
		if _, err := table.Upsert(t.Context(), placeBatch(rows...)); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	write(2)
	if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Savepoint(t.Context(), SavepointOptions{}); err != nil {
		t.Fatal(err)
	}
	write(3)
	if _, err := table.DeleteFrom(t.Context(), map[string][]string{"place=us": {"d"}}); err != nil {
		t.Fatal(err)
	}
	return store, table
}

func TestCheckSound(t *testing.T) {
	t.Parallel()
	store, _ := checked(t)
	r := mustCheck(t, store, CheckOptions{GlobalKeys: true, KeyMemory: 1, TempDir: t.TempDir()})
	if len(r.Faults) > 0 || !r.Sound() || r.Rows != 3 || r.BaseFiles == 0 || r.LogFiles == 0 || r.LogBlocks == 0 {
		t.Errorf("got %+v", r)
	}
	if r := mustCheck(t, store, CheckOptions{Quick: true}); len(r.Faults) > 0 || r.Rows != 0 {
		t.Errorf("quick: %+v", r)
	}
}

// pick is a file of the table, by a part of its path.
func pick(t *testing.T, store storage.Store, has ...string) string {
	t.Helper()
	for info, err := range store.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(has, func(h string) bool { return !strings.Contains(info.Name, h) }) {
			return info.Name
		}
	}
	t.Fatalf("no file with %q", has)
	return ""
}

// TestCheckDamage damages a table in each way that Check knows, and finds it named.
func TestCheckDamage(t *testing.T) {
	t.Parallel()
	replace := func(old, next string) func([]byte) []byte {
		return func(d []byte) []byte { return []byte(strings.ReplaceAll(string(d), old, next)) }
	}
	gone := func([]byte) []byte { return nil }
	for name, c := range map[string]struct {
		damage func(t *testing.T, store storage.Store, table *Table)
		says   string // the fault, as text
	}{
		"properties": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, propertiesFile, replace("hoodie.table.checksum=", "hoodie.table.checksum=1"))
		}, "broken: .hoodie/hoodie.properties: hoodie.table.checksum is"},
		"statistics": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, pick(t, store, "place=us", ".parquet"), func(d []byte) []byte {
				d[bytes.LastIndex(d, []byte(".parquet"))+1] = 'q' // the least name of a file
				return d
			})
		}, "readers with a filter may pass over rows: column _hoodie_file_name of row group 0: it has "},
		"copy of the properties": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, propertiesCopy, "x")
		}, "leftover: .hoodie/hoodie.properties.backup"},
		"foreign file": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, "holiday.jpg", "x")
		}, "leftover: holiday.jpg: it is no file of a Hudi table"},
		"data file in no partition": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, "a_0-1-2_20260101000000000.parquet", "x")
		}, "leftover: a_0-1-2_20260101000000000.parquet"},
		"orphan": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, "place=eu/"+baseName(newBucketFileID(0), "0-1-2", "29990101000000000"), "x")
		}, "leftover: place=eu/"},
		"timeline name": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, ".hoodie/20260101000000000.sing", "x")
		}, "leftover: .hoodie/20260101000000000.sing"},
		"pending": {func(t *testing.T, store storage.Store, _ *Table) {
			put(t, store, ".hoodie/20260101000000000.deltacommit.requested", "")
		}, "leftover: .hoodie/20260101000000000.deltacommit.requested: deltacommit 20260101000000000 is REQUESTED"},
		"no inflight file": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, pick(t, store, ".deltacommit.inflight"), gone)
		}, "its INFLIGHT file is not there"},
		"commit": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, pick(t, store, ".commit"), func(d []byte) []byte { return d[:len(d)/2] })
		}, ": decode commit metadata: unexpected end"},
		"savepoint": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, savepointFile(t, store), func(d []byte) []byte { return d[:20] })
		}, ": decode savepoint metadata"},
		"savepoint's file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Base.Path(), gone)
		}, "and savepoint "},
		"partition mark": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, "place=eu/"+partitionFile, gone)
		}, "broken: place=eu/.hoodie_partition_metadata: it is missing"},
		"missing base file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Base.Path(), gone)
		}, "it is missing, and commit "},
		"empty commit": {func(t *testing.T, store storage.Store, _ *Table) {
			damage(t, store, pick(t, store, ".commit"), func([]byte) []byte { return []byte{} })
		}, ".commit: it is empty"},
		"missing older base file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.view.groups(nil)[0].Slices[0].Base.Path(), gone)
		}, "it is missing, and commit "},
		"missing older log file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.view.groups(nil)[0].Slices[0].Logs[0].Path(), gone)
		}, "it is missing, and commit "},
		"emptied older log file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.view.groups(nil)[0].Slices[0].Logs[0].Path(), func([]byte) []byte { return []byte{} })
		}, "it is 0 bytes, and commit "},
		"missing log file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Logs[0].Path(), gone)
		}, "it is missing, and commit "},
		"short base file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Base.Path(), func(d []byte) []byte { return d[:len(d)-1] })
		}, "bytes, and commit"},
		"footer": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Base.Path(), func(d []byte) []byte { d[len(d)-20] ^= 0xff; d[len(d)-7] ^= 0x10; return d })
		}, "open base file"},
		"older base file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.view.groups(nil)[0].Slices[0].Base.Path(), func(d []byte) []byte { d[len(d)-7] ^= 0x10; return d })
		}, "open base file"},
		"column": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Base.Path(), func(d []byte) []byte {
				for i := 4; i < 200; i++ {
					d[i] ^= 0xff
				}
				return d
			})
		}, ".parquet: read base file: "},
		"page of an older base file": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.view.groups(nil)[0].Slices[0].Base.Path(), func(d []byte) []byte {
				d[bytes.Index(d, []byte("place=eu"))+7] = 'x' // a value like others
				return d
			})
		}, "_hoodie_partition_path of row group 0: the page at offset "},
		"log block": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Logs[0].Path(), func(d []byte) []byte { d[1] = '?'; return d })
		}, " at 0: a block of commit "},
		"log records": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Logs[0].Path(), func(d []byte) []byte {
				at := strings.LastIndex(string(d), "place=eu")
				copy(d[at-40:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
				return d
			})
		}, "broken: place=eu/."},
		"rest of a broken append": {func(t *testing.T, store storage.Store, table *Table) {
			damage(t, store, table.Slices()[0].Logs[0].Path(), func(d []byte) []byte { return append(d, "#HUDI#abc"...) })
		}, "note: place=eu/"},
		"rows of another partition": {func(t *testing.T, store storage.Store, table *Table) {
			swap(t, store, table, false)
		}, "stands in partition \"place=eu\", and its columns make \"place=us\""},
		"rows say another partition": {func(t *testing.T, store storage.Store, table *Table) {
			swap(t, store, table, false)
		}, "says partition \"place=us\", and stands in \"place=eu\""},
		"keys twice": {func(t *testing.T, store storage.Store, table *Table) {
			swap(t, store, table, true)
		}, "comes twice: in file group"},
		"rows of another bucket": {func(t *testing.T, store storage.Store, table *Table) {
			swap(t, store, table, true)
		}, "upserts do not find it"},
		"file name in rows": {func(t *testing.T, store storage.Store, table *Table) {
			swap(t, store, table, true)
		}, "says that it stands in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, table := checked(t)
			c.damage(t, store, table)
			r := mustCheck(t, store, CheckOptions{})
			var all []string
			for _, f := range r.Faults {
				all = append(all, f.String())
				if f.WayOut == "" && f.Severity != Note {
					t.Errorf("no way out of %s", f)
				}
			}
			if !strings.Contains(strings.Join(all, "\n"), c.says) {
				t.Errorf("got %d faults, want %q:\n%s", len(all), c.says, strings.Join(all, "\n"))
			}
			if sound := strings.HasPrefix(c.says, "note"); r.Sound() != sound {
				t.Errorf("sound: %v", r.Sound())
			}
		})
	}
}

func put(t *testing.T, store storage.Store, name, text string) {
	t.Helper()
	if err := store.Put(t.Context(), name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func savepointFile(t *testing.T, store storage.Store) string {
	t.Helper()
	for info := range store.List(t.Context(), metaFolder, false) {
		if strings.HasSuffix(info.Name, ".savepoint") {
			return info.Name
		}
	}
	t.Fatal("no savepoint")
	return ""
}

// swap puts the base file of one file group in the place of another's: within a
// partition, or across.
func swap(t *testing.T, store storage.Store, table *Table, within bool) {
	t.Helper()
	found := table.Slices()
	to := found[0]
	for _, from := range found[1:] {
		if (from.Partition == to.Partition) != within || from.Base == nil {
			continue
		}
		data, _, err := store.Get(t.Context(), from.Base.Path())
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != int(to.Base.Size) { // the commit says how long it is: say so
			fixSize(t, store, to.Base, len(data))
		}
		put(t, store, to.Base.Path(), string(data))
		return
	}
	t.Fatal("no other file group")
}

// fixSize lets the commit say that it wrote a file of another size.
func fixSize(t *testing.T, store storage.Store, f *DataFile, size int) {
	t.Helper()
	name := metaFolder + "/" + timeline.Instant{Time: f.Instant, Action: timeline.Commit, State: timeline.Completed}.FileName()
	data, _, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := timeline.UnmarshalCommit(data)
	if err != nil {
		t.Fatal(err)
	}
	for p, stats := range m.PartitionToWriteStats {
		for i := range stats {
			if stats[i].Path == f.Path() {
				m.PartitionToWriteStats[p][i].FileSizeInBytes = int64(size)
			}
		}
	}
	if data, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	put(t, store, name, string(data))
}

// A pending instant of a writer at work is none of a table's faults.
func TestCheckGrace(t *testing.T) {
	t.Parallel()
	store, table := checked(t)
	x, err := table.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Abort(t.Context()) }()
	if r := mustCheck(t, store, CheckOptions{Grace: time.Hour}); !r.Sound() || len(r.Faults) != 1 || r.Faults[0].Severity != Note {
		t.Errorf("got %v", r.Faults)
	}
	if r := mustCheck(t, store, CheckOptions{}); r.Sound() {
		t.Error("a leftover is no fault")
	}
}

// A key in two partitions is a fault where keys are global.
func TestCheckGlobalKeys(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table, err := Create(t.Context(), store, placeOptions(CopyOnWrite))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"a", "us", 0, 1})); err != nil {
		t.Fatal(err)
	}
	if r := mustCheck(t, store, CheckOptions{}); len(r.Faults) > 0 {
		t.Errorf("got %v", r.Faults)
	}
	r := mustCheck(t, store, CheckOptions{GlobalKeys: true})
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].What, `key "a" comes twice`) {
		t.Errorf("got %v", r.Faults)
	}
	if r := mustCheck(t, store, CheckOptions{GlobalKeys: true, MaxFaults: 1}); len(r.Faults) != 1 {
		t.Errorf("got %v", r.Faults)
	}
}

// The census finds what comes twice whether it fits in memory or not.
func TestKeyCensus(t *testing.T) {
	t.Parallel()
	for _, memory := range []int64{1, 24 * 100, 1 << 20} {
		k := newKeyCensus(memory, t.TempDir())
		for i := range 1000 {
			if err := k.add(basefile.HashKey(strconv.Itoa(i)), int32(i%3)); err != nil {
				t.Fatal(err)
			}
			if i%100 == 7 {
				if err := k.add(basefile.HashKey(strconv.Itoa(i)), 2); err != nil {
					t.Fatal(err)
				}
			}
		}
		twice, err := k.twice(func(a, b int32) bool { return a == b })
		if err != nil {
			t.Fatal(err)
		}
		all, err := k.twice(func(int32, int32) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for i := 7; i < 1000; i += 100 {
			if i%3 == 2 {
				want++
			}
		}
		if len(twice) != want || len(all) != 10 {
			t.Errorf("memory %d: %d and %d, want %d and 10", memory, len(twice), len(all), want)
		}
		k.close()
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	store, table := checked(t)
	put(t, store, "x.txt", "x")
	files, err := table.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[FileState]int{}
	for _, f := range files {
		got[f.State]++
	}
	live := 0
	for _, s := range table.Slices() {
		live += len(s.files())
	}
	if got[FileLive] != live || got[FileOlder] == 0 || got[FileMark] != 2 || got[FileForeign] != 1 || len(got) != 4 {
		t.Errorf("got %v, %d live", got, live)
	}
}
