package timeline

// SavepointMetadata is what the completed file of a savepoint has: which files may not be
// deleted.
type SavepointMetadata struct {
	SavepointedBy     string                                `avro:"savepointedBy"`
	SavepointedAt     int64                                 `avro:"savepointedAt"` // Unix milliseconds
	Comments          string                                `avro:"comments"`
	PartitionMetadata map[string]SavepointPartitionMetadata `avro:"partitionMetadata"`
	// Version is set by Encode, if it is 0.
	Version int32 `avro:"version"`
}

// SavepointPartitionMetadata is the savepointed files of one partition, as bare names.
type SavepointPartitionMetadata struct {
	PartitionPath     string   `avro:"partitionPath"`
	SavepointDataFile []string `avro:"savepointDataFile"`
}

var savepointMetadata = newRecord[SavepointMetadata]("savepoint metadata", "HoodieSavepointMetadata")

// Encode writes the metadata as a timeline file.
func (m *SavepointMetadata) Encode() ([]byte, error) {
	out := *m
	out.Version = orVersion(m.Version, 1)
	return savepointMetadata.encode(&out)
}

// DecodeSavepointMetadata reads the completed file of a savepoint.
func DecodeSavepointMetadata(data []byte) (*SavepointMetadata, error) {
	return savepointMetadata.decode(data)
}
