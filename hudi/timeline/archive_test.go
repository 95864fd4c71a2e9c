package timeline

import (
	"reflect"
	"strings"
	"testing"
)

// TestArchivedEntries archives every file of the golden timelines of layout 1 and finds
// in the entry what the file said.
func TestArchivedEntries(t *testing.T) {
	var d ArchivedDecoder
	seen := map[Action]int{}
	for table, files := range goldenFiles(t) {
		if strings.HasSuffix(table, "/timeline/") {
			continue
		}
		for _, f := range files {
			name := table + f.instant.FileName()
			e, err := NewArchivedEntry(f.instant, f.data)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			e.Transition = "20261122013503999"
			datum, err := e.Append(nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got, err := d.Decode(ArchivedSchema(), datum)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if !reflect.DeepEqual(got, e) {
				t.Errorf("%s: got %+v\nwant %+v", name, got, e)
			}
			if e.Commit != nil || e.Clean != nil || e.Rollback != nil || e.Savepoint != nil || e.CompactionPlan != nil {
				seen[f.instant.Action]++
			}
		}
	}
	for _, a := range []Action{Commit, DeltaCommit, ReplaceCommit, Compaction, Clean, Rollback, Savepoint} {
		if seen[a] == 0 {
			t.Errorf("no entry of a %s says anything", a)
		}
	}
}

func TestArchivedEntryOfNoInstant(t *testing.T) {
	var d ArchivedDecoder
	for _, i := range []Instant{
		{Time: "x", Action: Commit, State: Completed}, {Time: testTime, Action: "other", State: Completed},
	} {
		datum, err := (&ArchivedEntry{Instant: i}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := d.Decode(ArchivedSchema(), datum); err == nil {
			t.Errorf("%v: decoded as %v", i, e.Instant)
		}
	}
	if _, err := NewArchivedEntry(Instant{Time: testTime, Action: Clean, State: Completed}, []byte("no Avro")); err == nil {
		t.Error("archived a clean that is none")
	}
	if _, err := d.Decode("{}", nil); err == nil {
		t.Error("decoded without a schema")
	}
}

func FuzzArchivedEntry(f *testing.F) {
	commit := &CommitMetadata{PartitionToWriteStats: map[string][]WriteStat{"p": {{FileID: "f"}}}}
	for _, e := range []*ArchivedEntry{
		{Instant: Instant{Time: testTime, Action: Commit, State: Completed}, Commit: commit},
		{Instant: Instant{Time: testTime, Action: Clean, State: Requested}, CleanerPlan: &CleanerPlan{}},
		{Instant: Instant{Time: testTime, Action: Rollback, State: Completed}, Rollback: &RollbackMetadata{}},
	} {
		datum, err := e.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(datum)
	}
	var d ArchivedDecoder // a worker runs one input at a time
	f.Fuzz(func(t *testing.T, datum []byte) {
		e, err := d.Decode(ArchivedSchema(), datum)
		if err != nil {
			return
		}
		if _, err := e.Append(nil); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	})
}
