package timeline

// IndexPlan is what the requested file of an indexing has: which parts of the metadata
// table are to be built. What readers see does not depend on it.
type IndexPlan struct {
	// Version is set by Encode, if it is 0.
	Version    int32                `avro:"version"`
	Partitions []IndexPartitionInfo `avro:"indexPartitionInfos"`
}

// IndexPartitionInfo is a part of the metadata table and the instant up to which it is
// built.
type IndexPartitionInfo struct {
	Version               int32             `avro:"version"`
	MetadataPartitionPath string            `avro:"metadataPartitionPath"`
	IndexUptoInstant      string            `avro:"indexUptoInstant"`
	ExtraMetadata         map[string]string `avro:"extraMetadata"`
}

var indexPlan = newRecord[IndexPlan]("index plan", "HoodieIndexPlan")

// Encode writes the plan as a timeline file.
func (p *IndexPlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, 1)
	return indexPlan.encode(&out)
}

// DecodeIndexPlan reads the requested file of an indexing.
func DecodeIndexPlan(data []byte) (*IndexPlan, error) {
	return indexPlan.decode(data)
}

// IndexCommitMetadata is what the completed file of an indexing has.
type IndexCommitMetadata struct {
	// Version is set by Encode, if it is 0.
	Version       int32                `avro:"version"`
	OperationType string               `avro:"operationType"`
	Partitions    []IndexPartitionInfo `avro:"indexPartitionInfos"`
}

var indexCommit = newRecord[IndexCommitMetadata]("index commit metadata", "HoodieIndexCommitMetadata")

// Encode writes the metadata as a timeline file.
func (m *IndexCommitMetadata) Encode() ([]byte, error) {
	out := *m
	out.Version = orVersion(m.Version, 1)
	return indexCommit.encode(&out)
}

// DecodeIndexCommitMetadata reads the completed file of an indexing.
func DecodeIndexCommitMetadata(data []byte) (*IndexCommitMetadata, error) {
	return indexCommit.decode(data)
}
