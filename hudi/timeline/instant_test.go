package timeline

import "testing"

const testTime = "20261122013503716"

func TestFileNames(t *testing.T) {
	for _, c := range []struct {
		action                         Action
		requested, inflight, completed string
	}{
		{Commit, ".commit.requested", ".inflight", ".commit"},
		{DeltaCommit, ".deltacommit.requested", ".deltacommit.inflight", ".deltacommit"},
		{ReplaceCommit, ".replacecommit.requested", ".replacecommit.inflight", ".replacecommit"},
		{Compaction, ".compaction.requested", ".compaction.inflight", ".commit"},
		{LogCompaction, ".logcompaction.requested", ".logcompaction.inflight", ".deltacommit"},
		{Clustering, ".clustering.requested", ".clustering.inflight", ".replacecommit"},
		{Clean, ".clean.requested", ".clean.inflight", ".clean"},
		{Rollback, ".rollback.requested", ".rollback.inflight", ".rollback"},
		{Savepoint, "", ".savepoint.inflight", ".savepoint"},
		{Restore, ".restore.requested", ".restore.inflight", ".restore"},
		{Indexing, ".indexing.requested", ".indexing.inflight", ".indexing"},
		{SchemaCommit, ".schemacommit.requested", ".schemacommit.inflight", ".schemacommit"},
	} {
		for state, suffix := range []string{c.requested, c.inflight, c.completed} {
			if suffix == "" {
				continue
			}
			want := Instant{Time: testTime, Action: c.action, State: State(state)}
			if got := want.FileName(); got != testTime+suffix {
				t.Errorf("%v: name %q, want suffix %q", want, got, suffix)
			}
			if want.State == Completed {
				want.Action = c.action.family()
			}
			if got, ok := ParseName(testTime + suffix); !ok || got != want {
				t.Errorf("parse suffix %q: %v, %v, want %v", suffix, got, ok, want)
			}
		}
	}
}

func TestParseNameIgnoresOtherFiles(t *testing.T) {
	for _, name := range []string{
		"", ".", "hoodie.properties", "hoodie.properties.backup", "archived", ".aux", ".temp",
		testTime, testTime + ".", "." + testTime + ".commit.crc", testTime + ".commit.crc",
		testTime + ".commit.inflight", testTime + ".compaction", testTime + ".logcompaction",
		testTime + ".savepoint.requested", testTime + ".requested", testTime + ".COMMIT",
		testTime + ".commit.", testTime + ".commit.requested.tmp", "x" + testTime + ".commit",
		".commit", testTime + ".unknown", testTime + "_.commit", testTime + "_" + testTime + ".inflight",
		testTime + "_" + testTime + ".commit.requested", testTime + "_" + testTime + ".clustering", testTime + "_1_2.commit",
	} {
		if i, ok := ParseName(name); ok {
			t.Errorf("%q: parsed as %v", name, i)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(testTime + ".commit")
	f.Add(testTime + ".inflight")
	f.Add(testTime + ".compaction.requested")
	f.Add(testTime + "_" + testTime + ".replacecommit")
	f.Add("hoodie.properties")
	f.Add(".." + testTime)
	f.Fuzz(func(t *testing.T, name string) {
		if i, ok := ParseName(name); ok && i.FileName() != name {
			t.Errorf("%q: parsed as %v, which has the name %q", name, i, i.FileName())
		}
	})
}
