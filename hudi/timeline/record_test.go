package timeline

import (
	"reflect"
	"strings"
	"testing"
)

// The round trips have each record twice: as little as a caller may give, and as much as
// there is to give.

func TestRollbackRoundTrip(t *testing.T) {
	log := map[string]int64{"/t/.l": 9}
	roundTrip(t, &RollbackPlan{}, DecodeRollbackPlan)
	roundTrip(t, &RollbackPlan{
		InstantToRollback: &InstantInfo{"10", "commit"},
		Requests: []RollbackRequest{
			{PartitionPath: "p", FilesToBeDeleted: []string{"/t/p/f"}},
			{PartitionPath: "p", FileID: "f-0", LatestBaseInstant: "9", LogBlocksToBeDeleted: log},
		},
	}, DecodeRollbackPlan)
	roundTrip(t, &RollbackMetadata{}, DecodeRollbackMetadata)
	roundTrip(t, &RollbackMetadata{
		StartRollbackTime: "11", TimeTakenInMillis: 2, TotalFilesDeleted: 1, CommitsRollback: []string{"10"},
		PartitionMetadata: map[string]RollbackPartitionMetadata{
			"p": {PartitionPath: "p", SuccessDeleteFiles: []string{"f"}, RollbackLogFiles: log},
		},
		InstantsRollback: []InstantInfo{{"10", "commit"}},
	}, DecodeRollbackMetadata)
}

func TestCleanRoundTrip(t *testing.T) {
	roundTrip(t, &CleanerPlan{}, DecodeCleanerPlan)
	roundTrip(t, &CleanerPlan{
		EarliestInstantToRetain: &ActionInstant{"10", "commit", Completed.String()},
		Policy:                  KeepLatestFileVersions, LastCompletedCommitTimestamp: "12",
		FilePathsToBeDeletedPerPartition: map[string][]CleanFileInfo{"p": {{FilePath: "/t/p/f"}}},
		PartitionsToBeDeleted:            []string{"q"}, ExtraMetadata: map[string]string{"a": "b"},
	}, DecodeCleanerPlan)
	roundTrip(t, &CleanMetadata{}, DecodeCleanMetadata)
	roundTrip(t, &CleanMetadata{
		StartCleanTime: "13", TotalFilesDeleted: 1, EarliestCommitToRetain: "10",
		PartitionMetadata: map[string]CleanPartitionMetadata{
			"p": {PartitionPath: "p", DeletePathPatterns: []string{"f"}, IsPartitionDeleted: true},
		},
	}, DecodeCleanMetadata)
	roundTrip(t, &SavepointMetadata{}, DecodeSavepointMetadata)
}

func TestRestoreRoundTrip(t *testing.T) {
	roundTrip(t, &RestorePlan{}, DecodeRestorePlan)
	roundTrip(t, &RestorePlan{
		InstantsToRollback: []InstantInfo{{"12", "commit"}}, SavepointToRestoreTimestamp: "10",
	}, DecodeRestorePlan)
	roundTrip(t, &RestoreMetadata{}, DecodeRestoreMetadata)
	roundTrip(t, &RestoreMetadata{
		StartRestoreTime: "13", InstantsToRollback: []string{"12"}, RestoreInstantInfo: []InstantInfo{{"12", "commit"}},
		RollbackMetadata: map[string][]*RollbackMetadata{"12": {{StartRollbackTime: "13"}}},
	}, DecodeRestoreMetadata)
	roundTrip(t, &IndexPlan{Partitions: []IndexPartitionInfo{{MetadataPartitionPath: "files"}}}, DecodeIndexPlan)
	roundTrip(t, &IndexCommitMetadata{OperationType: "BUILD"}, DecodeIndexCommitMetadata)
}

func TestPlanRoundTrip(t *testing.T) {
	base, op, one, yes := "b", "CLUSTER", int32(1), true
	roundTrip(t, &CompactionPlan{}, DecodeCompactionPlan)
	roundTrip(t, &CompactionPlan{
		Operations: []CompactionOperation{
			{BaseInstantTime: "10", FileID: "f-0", DeltaFilePaths: []string{".l"}, DataFilePath: &base},
			{BaseInstantTime: "10", FileID: "g-0", Metrics: map[string]float64{"TOTAL_LOG_FILES": 2}},
		},
		Strategy: &CompactionStrategy{CompactorClassName: "c", StrategyParams: map[string]string{}},
	}, DecodeCompactionPlan)
	roundTrip(t, &RequestedReplaceMetadata{}, DecodeRequestedReplaceMetadata)
	roundTrip(t, &RequestedReplaceMetadata{
		OperationType: &op, Version: &one,
		ClusteringPlan: &ClusteringPlan{
			InputGroups: []ClusteringGroup{{Slices: []SliceInfo{{FileID: "f-0"}}}}, PreserveHoodieMetadata: &yes,
		},
	}, DecodeRequestedReplaceMetadata)
}

type encoder[T any] interface {
	*T
	Encode() ([]byte, error)
}

// roundTrip encodes in, which does not change it, and decodes what came of it. That is
// not the same, as encoding fills in what Hudi wants; so it is encoded and decoded again.
func roundTrip[T any, P encoder[T]](t *testing.T, in P, decode func([]byte) (*T, error)) {
	t.Helper()
	given := *in
	first := recoded[T](t, in, decode)
	if !reflect.DeepEqual(*in, given) {
		t.Errorf("encoding changed %+v to %+v", given, *in)
	}
	if second := recoded[T](t, P(first), decode); !reflect.DeepEqual(first, second) {
		t.Errorf("got %+v, want %+v", second, first)
	}
	checkKept(t, reflect.ValueOf(*in), reflect.ValueOf(*first))
	for _, bad := range [][]byte{[]byte("Obj\x01"), []byte("{}"), []byte(nil)} {
		if _, err := decode(bad); err == nil && len(bad) > 0 {
			t.Errorf("%T: decoded %q", in, bad)
		}
	}
}

func recoded[T any, P encoder[T]](t *testing.T, in P, decode func([]byte) (*T, error)) *T {
	t.Helper()
	data, err := in.Encode()
	if err != nil {
		t.Fatalf("%+v: %v", in, err)
	}
	if !strings.Contains(string(data), `"namespace":"org.apache.hudi.avro.model"`) {
		t.Errorf("%T: the namespace is not in the header", in)
	}
	out, err := decode(data)
	if err != nil {
		t.Fatalf("%+v: %v", in, err)
	}
	return out
}

// checkKept finds whatever is set at in's top in out.
func checkKept(t *testing.T, in, out reflect.Value) {
	t.Helper()
	for i := range in.NumField() {
		a, b := in.Field(i), out.Field(i)
		var same bool
		switch a.Kind() {
		case reflect.Slice, reflect.Map:
			same = a.Len() == b.Len()
		case reflect.Pointer:
			same = a.IsNil() == b.IsNil()
		default:
			same = a.IsZero() || a.Equal(b)
		}
		if !same {
			t.Errorf("%s is %v, want %v", in.Type().Field(i).Name, b, a)
		}
	}
}

// TestRecordsHaveNoNulls is about what Hudi's Java reads without a look whether it is null.
func TestRecordsHaveNoNulls(t *testing.T) {
	plan := recoded[RollbackPlan](t, &RollbackPlan{Requests: []RollbackRequest{{}}}, DecodeRollbackPlan)
	if plan.Requests[0].LogBlocksToBeDeleted == nil || plan.Version != 1 {
		t.Errorf("rollback plan %+v", plan)
	}
	cleaner := recoded[CleanerPlan](t, &CleanerPlan{}, DecodeCleanerPlan)
	if cleaner.FilePathsToBeDeletedPerPartition == nil || cleaner.FilesToBeDeletedPerPartition == nil ||
		cleaner.PartitionsToBeDeleted == nil || cleaner.ExtraMetadata == nil || cleaner.Version != 2 {
		t.Errorf("cleaner plan %+v", cleaner)
	}
	clean := recoded[CleanMetadata](t, &CleanMetadata{}, DecodeCleanMetadata)
	if clean.BootstrapPartitionMetadata == nil || clean.ExtraMetadata == nil || clean.Version != 2 {
		t.Errorf("clean metadata %+v", clean)
	}
	replace := recoded[RequestedReplaceMetadata](t, &RequestedReplaceMetadata{}, DecodeRequestedReplaceMetadata)
	if !reflect.DeepEqual(replace, &RequestedReplaceMetadata{}) {
		t.Errorf("empty requested replace metadata has %+v", replace)
	}
	none, err := DecodeRequestedReplaceMetadata(nil)
	if err != nil || !reflect.DeepEqual(none, replace) {
		t.Errorf("no content: %+v, %v", none, err)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	plan := &CleanerPlan{FilePathsToBeDeletedPerPartition: map[string][]CleanFileInfo{"p": {{FilePath: "f"}}}}
	for _, e := range []interface{ Encode() ([]byte, error) }{plan, &RollbackPlan{}, &CompactionPlan{}, &RequestedReplaceMetadata{}} {
		data, err := e.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, m := range []*CommitMetadata{
		{PartitionToWriteStats: map[string][]WriteStat{"p": {{FileID: "f", LogFiles: []string{"l"}}}}},
		{PartitionToReplaceFileIDs: map[string][]string{"p": {"f"}}},
	} {
		data, err := m.EncodeAvro()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, a := range []Action{Rollback, Clean, Compaction, ReplaceCommit, Savepoint, Restore, Indexing, Commit} {
			for _, s := range []State{Requested, Completed} {
				_, err := recode(goldenFile{Instant{Time: testTime, Action: a, State: s}, data})
				if err != nil && strings.Contains(err.Error(), "encode ") {
					t.Errorf("%s %v: %v", a, s, err)
				}
			}
		}
	})
}
