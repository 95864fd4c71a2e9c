package timeline

import (
	"bytes"
	"errors"
	"io"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/avro/ocf"

	"lakefeed/internal/golden"
)

type goldenFile struct {
	instant Instant
	data    []byte
}

// goldenFiles reads the timeline files of the tables that Spark wrote, by table; the
// metadata table's are apart.
func goldenFiles(t *testing.T) map[string][]goldenFile {
	t.Helper()
	out := map[string][]goldenFile{}
	for _, name := range golden.Names(t) {
		for file, data := range golden.Files(t, name) {
			dir, base := path.Split(file)
			instant, ok := ParseName(base)
			if ok && (strings.HasSuffix(dir, "/.hoodie/") || strings.HasSuffix(dir, "/.hoodie/timeline/")) {
				table := name + ".tar.gz:" + dir
				out[table] = append(out[table], goldenFile{instant, data})
			}
		}
	}
	return out
}

// recode decodes a golden file and encodes what it has got.
func recode(f goldenFile) ([]byte, error) {
	type record interface{ Encode() ([]byte, error) }
	var r record
	var err error
	pending := f.instant.State != Completed
	if isCommit(f) {
		m, err := UnmarshalCommit(f.data)
		if err != nil {
			return nil, err
		}
		return m.EncodeAvro()
	}
	switch f.instant.Action {
	case Rollback:
		if pending {
			r, err = DecodeRollbackPlan(f.data)
		} else {
			r, err = DecodeRollbackMetadata(f.data)
		}
	case Clean:
		if pending {
			r, err = DecodeCleanerPlan(f.data)
		} else {
			r, err = DecodeCleanMetadata(f.data)
		}
	case Compaction:
		r, err = DecodeCompactionPlan(f.data)
	case ReplaceCommit, Clustering:
		r, err = DecodeRequestedReplaceMetadata(f.data)
	case Savepoint:
		r, err = DecodeSavepointMetadata(f.data)
	case Restore:
		if pending {
			r, err = DecodeRestorePlan(f.data)
		} else {
			r, err = DecodeRestoreMetadata(f.data)
		}
	case Indexing:
		if pending {
			r, err = DecodeIndexPlan(f.data)
		} else {
			r, err = DecodeIndexCommitMetadata(f.data)
		}
	default:
		err = errors.New("no record is known for it")
	}
	if err != nil {
		return nil, err
	}
	return r.Encode()
}

// isCommit tells whether a file has commit metadata.
func isCommit(f goldenFile) bool {
	return f.instant.Writes() && f.instant.State != Requested &&
		(f.instant.State == Completed || f.instant.Action != Clustering && f.instant.Action != Compaction)
}

// decodeAny reads a record without our types.
func decodeAny(t *testing.T, data []byte) map[string]any {
	t.Helper()
	r, err := ocf.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v map[string]any
	if err := r.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var more any
	if err := r.Decode(&more); !errors.Is(err, io.EOF) {
		t.Errorf("after the record: %v, want the end", err)
	}
	for k := range r.Metadata() {
		if k != "avro.schema" {
			t.Errorf("the header has %q, which Hudi does not write", k)
		}
	}
	return v
}

// TestGoldenRecords reads every record of the golden tables, writes it again, and finds
// the same in both.
func TestGoldenRecords(t *testing.T) {
	seen := map[Action]int{}
	for table, files := range goldenFiles(t) {
		for _, f := range files {
			if !bytes.HasPrefix(f.data, []byte("Obj\x01")) {
				continue
			}
			name := table + f.instant.FileName()
			data, err := recode(f)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			seen[f.instant.Action]++
			want, got := said(decodeAny(t, f.data)), said(decodeAny(t, data))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v\nwant %v", name, got, want)
			}
		}
	}
	for _, a := range []Action{Rollback, Clean, Compaction, ReplaceCommit, Savepoint, Clustering, Commit, DeltaCommit} {
		if seen[a] == 0 {
			t.Errorf("no golden table has a record of a %s", a)
		}
	}
}

// TestGoldenCommits reads the metadata of every write of the golden tables. Whatever a
// field of Hudi's says is still there after it was written again.
func TestGoldenCommits(t *testing.T) {
	commits, replaced := 0, 0
	for table, files := range goldenFiles(t) {
		for _, f := range files {
			if !isCommit(f) {
				continue
			}
			name := table + f.instant.FileName()
			m, err := UnmarshalCommit(f.data)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if bytes.HasPrefix(f.data, []byte("{")) {
				checkJSON(t, name, f.data, m)
			}
			if f.instant.State != Completed {
				continue
			}
			commits++
			if m.OperationType == "" || m.ExtraMetadata[SchemaKey] == "" {
				t.Errorf("%s: operation %q, extra metadata %v", name, m.OperationType, m.ExtraMetadata)
			}
			if f.instant.Action == ReplaceCommit && len(m.PartitionToReplaceFileIDs) > 0 {
				replaced++
			}
		}
	}
	if commits == 0 || replaced == 0 {
		t.Errorf("read %d commits, %d that replace file groups", commits, replaced)
	}
}

// TestGoldenTimelines finds each file of the golden tables in its timeline, and each
// compaction either pending or completed.
func TestGoldenTimelines(t *testing.T) {
	compacted, clustered := 0, 0
	for table, files := range goldenFiles(t) {
		var names []string
		for _, f := range files {
			names = append(names, f.instant.FileName())
		}
		layout := Layout1
		if strings.HasSuffix(table, "/timeline/") {
			layout = Layout2
		}
		tl := NewLayout(layout, names)
		if _, ok := tl.Last(); !ok {
			t.Errorf("%s: nothing is completed", table)
		}
		for _, f := range files {
			if !slices.Contains(tl.States(f.instant.Time), f.instant) {
				t.Errorf("%s: %v is not among the states of its time", table, f.instant)
			}
		}
		for _, i := range tl.Instants() {
			if (i.Completion != "") != (layout == Layout2 && i.State == Completed) {
				t.Errorf("%s: %v: completion %q", table, i, i.Completion)
			}
			if i.Action == Clustering {
				clustered++
			}
			if i.Action != Compaction {
				continue
			}
			if pending := slices.Contains(tl.PendingCompactions(), i); pending == tl.IsCompleted(i.Time) {
				t.Errorf("%s: %v: pending %v", table, i, pending)
			}
			if i.State == Completed {
				compacted++
			}
		}
	}
	if compacted == 0 || clustered == 0 {
		t.Errorf("the golden tables have %d completed compactions, %d clusterings", compacted, clustered)
	}
}
