package timeline

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"lakefeed/hudi/internal/offset"
)

// CommitMetadata is what the file of a commit, delta commit, replace commit or compaction
// says about it.
type CommitMetadata struct {
	// PartitionToWriteStats has the written files of each partition. The key of an
	// unpartitioned table is empty.
	PartitionToWriteStats map[string][]WriteStat `json:"partitionToWriteStats" avro:"partitionToWriteStats"`
	// Compacted is set for compactions only.
	Compacted     bool              `json:"compacted" avro:"compacted"`
	ExtraMetadata map[string]string `json:"extraMetadata" avro:"extraMetadata"`
	// OperationType is Hudi's name of the operation, like UPSERT.
	OperationType string `json:"operationType" avro:"operationType"`
	// PartitionToReplaceFileIDs has the file groups of each partition that are no longer
	// part of the table. Replace commits have it, even if it is empty; others have nil.
	PartitionToReplaceFileIDs map[string][]string `json:"partitionToReplaceFileIds,omitzero" avro:"partitionToReplaceFileIds"`
}

// SchemaKey is the key of ExtraMetadata for the table's Avro schema.
const SchemaKey = "schema"

const unknownOperation = "UNKNOWN"

// Encode writes the metadata as Hudi does for tables of version 6, as indented JSON.
func (m *CommitMetadata) Encode() ([]byte, error) {
	out := m.filled()
	data, err := json.MarshalIndent(&out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode commit metadata: %w", err)
	}
	return data, nil
}

// filled is a copy in which what Hudi does not take as null is empty.
func (m *CommitMetadata) filled() CommitMetadata {
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
	return out
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

// avroCommit is commit metadata as layout 2 and archived timelines have it.
type avroCommit struct {
	CommitMetadata `avro:",inline"`

	Version *int32 `avro:"version"` // Hudi writes null
}

var (
	avroCommits  = newRecord[avroCommit]("commit metadata", "HoodieCommitMetadata")
	avroReplaces = newRecord[avroCommit]("replace commit metadata", "HoodieReplaceCommitMetadata")
)

// EncodeAvro writes the metadata as Hudi does for tables of version 8 and later, as a
// record of Avro. That of a replace commit has PartitionToReplaceFileIDs, even if it is
// empty.
func (m *CommitMetadata) EncodeAvro() ([]byte, error) {
	out := m.avro()
	if m.PartitionToReplaceFileIDs != nil {
		return avroReplaces.encode(out)
	}
	return avroCommits.encode(out)
}

func (m *CommitMetadata) avro() *avroCommit {
	return &avroCommit{m.filled(), nil}
}

// UnmarshalCommit reads the metadata of a commit, in either of its forms. It ignores
// fields that it does not know, and takes null as absent. A file without content has
// empty metadata.
func UnmarshalCommit(data []byte) (*CommitMetadata, error) {
	m := &CommitMetadata{}
	var err error
	if bytes.HasPrefix(data, []byte(avroMagic)) {
		var a avroCommit
		err = decodeOne(data, &a, ocf.WithReaderSchemaFunc(commitSchema))
		m = &a.CommitMetadata
	} else if len(bytes.TrimSpace(data)) > 0 {
		err = offset.OfJSON(json.Unmarshal(data, m))
	}
	if err != nil {
		return nil, fmt.Errorf("decode commit metadata: %w", err)
	}
	return m.present(), nil
}

// commitSchema is the schema of which of two records a file has.
func commitSchema(rd *ocf.Reader) (*avro.Schema, error) {
	if rd.Schema().Root().Name == "HoodieReplaceCommitMetadata" {
		return avroReplaces.schema(), nil
	}
	return avroCommits.schema(), nil
}

// present makes maps of what is absent.
func (m *CommitMetadata) present() *CommitMetadata {
	if m.PartitionToWriteStats == nil {
		m.PartitionToWriteStats = map[string][]WriteStat{}
	}
	if m.ExtraMetadata == nil {
		m.ExtraMetadata = map[string]string{}
	}
	return m
}
