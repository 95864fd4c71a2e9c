package timeline

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// CommitMetadata is what the file of a commit, delta commit, replace commit or compaction
// says about it.
type CommitMetadata struct {
	// PartitionToWriteStats has the written files of each partition. The key of an
	// unpartitioned table is empty.
	PartitionToWriteStats map[string][]WriteStat `json:"partitionToWriteStats"`
	// Compacted is set for compactions only.
	Compacted     bool              `json:"compacted"`
	ExtraMetadata map[string]string `json:"extraMetadata"`
	// OperationType is Hudi's name of the operation, like UPSERT.
	OperationType string `json:"operationType"`
	// PartitionToReplaceFileIDs has the file groups of each partition that are no longer
	// part of the table. Replace commits have it, even if it is empty; others have nil.
	PartitionToReplaceFileIDs map[string][]string `json:"partitionToReplaceFileIds,omitzero"`
}

// SchemaKey is the key of ExtraMetadata for the table's Avro schema.
const SchemaKey = "schema"

const unknownOperation = "UNKNOWN"

// Marshal writes the metadata as Hudi does for tables of version 6, as indented JSON.
// What Hudi does not take as null is written empty.
func (m *CommitMetadata) Marshal() ([]byte, error) {
	out := *m
	out.PartitionToWriteStats = withoutNulls(m.PartitionToWriteStats)
	if m.PartitionToReplaceFileIDs != nil {
		out.PartitionToReplaceFileIDs = withoutNulls(m.PartitionToReplaceFileIDs)
	}
	if out.ExtraMetadata == nil {
		out.ExtraMetadata = map[string]string{}
	}
	if out.OperationType == "" {
		out.OperationType = unknownOperation
	}
	data, err := json.MarshalIndent(&out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode commit metadata: %w", err)
	}
	return data, nil
}

func withoutNulls[T any](in map[string][]T) map[string][]T {
	out := make(map[string][]T, len(in))
	for k, v := range in {
		if v == nil {
			v = []T{}
		}
		out[k] = v
	}
	return out
}

// UnmarshalCommit reads the metadata of a commit. It ignores fields that it does not
// know, and takes null as absent. A file without content has empty metadata.
func UnmarshalCommit(data []byte) (*CommitMetadata, error) {
	m := &CommitMetadata{}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, m); err != nil {
			return nil, fmt.Errorf("decode commit metadata: %w", err)
		}
	}
	if m.PartitionToWriteStats == nil {
		m.PartitionToWriteStats = map[string][]WriteStat{}
	}
	if m.ExtraMetadata == nil {
		m.ExtraMetadata = map[string]string{}
	}
	return m, nil
}
