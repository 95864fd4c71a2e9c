package timeline

import (
	"reflect"
	"strings"
	"testing"
)

func fullCommit() *CommitMetadata {
	when := int64(7)
	return &CommitMetadata{
		PartitionToWriteStats: map[string][]WriteStat{
			"region=a": {{
				FileID: "f-0", Path: "region=a/f-0_0-1-2_10.parquet", PartitionPath: "region=a",
				PrevCommit: NoCommit, NumWrites: 3, NumInserts: 3, TotalWriteBytes: 9,
				FileSizeInBytes: 9, MinEventTime: &when, RuntimeStats: &RuntimeStats{1, 2, 3},
				CDCStats: map[string]int64{"x": 1}, PrevBaseFile: "p", TempPath: "t",
			}, {
				FileID: "g-0", Path: "region=a/.g-0_10.log.1_0-1-2", PartitionPath: "region=a",
				PrevCommit: "10", LogVersion: 1, LogFiles: []string{".g-0_10.log.1_0-1-2"},
				TotalLogFiles: 1, NumUpdates: 1, TotalLogReadTimeMs: 4,
			}},
			"": {},
		},
		ExtraMetadata:             map[string]string{SchemaKey: `{"type":"record","doc":"<&>"}`},
		OperationType:             "UPSERT",
		PartitionToReplaceFileIDs: map[string][]string{"": {"h-0"}},
	}
}

func TestCommitRoundTrip(t *testing.T) {
	want := fullCommit()
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalCommit(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v\nin %s", got, want, data)
	}
}

func TestCommitWritesWhatHudiNeeds(t *testing.T) {
	m := &CommitMetadata{
		PartitionToWriteStats: map[string][]WriteStat{
			"": {{FileID: "f-0"}}, "x": nil, "y": {{Path: "y/.l", LogFiles: []string{".l"}}},
		},
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{
		`"extraMetadata": {}`, `"operationType": "UNKNOWN"`, `"compacted": false`, `"x": []`,
		`"path": null`, `"partitionPath": null`, `"tempPath": null`, `"baseFile": ""`,
		`"logVersion": 0`, `"minEventTime": null`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	for what, want := range map[string]int{`"logFiles"`: 1, `"partitionToReplaceFileIds"`: 0} {
		if got := strings.Count(text, what); got != want {
			t.Errorf("%s is there %d times, want %d, in %s", what, got, want, text)
		}
	}
	m.PartitionToReplaceFileIDs = map[string][]string{}
	if data, err = m.Encode(); err != nil || !strings.Contains(string(data), `"partitionToReplaceFileIds": {}`) {
		t.Errorf("replaced file ids are missing: %v, %s", err, data)
	}
}

func TestUnmarshalCommitTolerates(t *testing.T) {
	for _, in := range []string{
		"", " \n", "null", "{}", `{"partitionToWriteStats":null,"extraMetadata":null,"operationType":null}`,
		`{"unknown":{"a":[1]},"version":1}`,
	} {
		m, err := UnmarshalCommit([]byte(in))
		if err != nil || m.PartitionToWriteStats == nil || m.ExtraMetadata == nil {
			t.Errorf("%q: %+v, %v", in, m, err)
		}
	}
	in := `{"partitionToWriteStats":{"":[{"path":null,"recordsStats":{"val":null},"logFiles":null,"numWrites":null},null],"x":null}}`
	m, err := UnmarshalCommit([]byte(in))
	if err != nil || len(m.PartitionToWriteStats[""]) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, in := range []string{"{", "[]", "Obj\x01", `{"compacted":"yes"}`} {
		if m, err := UnmarshalCommit([]byte(in)); err == nil {
			t.Errorf("%q: %+v, want an error", in, m)
		}
	}
}

func FuzzUnmarshalCommit(f *testing.F) {
	data, err := fullCommit().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte(`{"partitionToWriteStats":{"":[null]},"extraMetadata":{"a":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := UnmarshalCommit(data)
		if err != nil {
			return
		}
		once, err := m.Encode()
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		again, err := UnmarshalCommit(once)
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		twice, err := again.Encode()
		if err != nil || string(once) != string(twice) {
			t.Errorf("encoded twice: %v\n%s\n%s", err, once, twice)
		}
	})
}
