package timeline

import "slices"

// InstantInfo names an instant that is rolled back.
type InstantInfo struct {
	CommitTime string `avro:"commitTime"`
	Action     string `avro:"action"`
}

// RollbackPlan is what the requested file of a rollback has.
type RollbackPlan struct {
	InstantToRollback *InstantInfo      `avro:"instantToRollback"`
	Requests          []RollbackRequest `avro:"RollbackRequests"`
	// Version is set by Encode, if it is 0.
	Version int32 `avro:"version"`
}

// RollbackRequest is a part of a rollback: either files that are deleted, for which
// FileID and LatestBaseInstant are empty, or log blocks of one file group that are
// taken back.
type RollbackRequest struct {
	PartitionPath        string           `avro:"partitionPath"`
	FileID               string           `avro:"fileId"`
	LatestBaseInstant    string           `avro:"latestBaseInstant"`
	FilesToBeDeleted     []string         `avro:"filesToBeDeleted"`     // full paths
	LogBlocksToBeDeleted map[string]int64 `avro:"logBlocksToBeDeleted"` // sizes by full path
}

var rollbackPlan = newRecord[RollbackPlan]("rollback plan", "HoodieRollbackPlan")

// Encode writes the plan as a timeline file.
func (p *RollbackPlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, 1)
	out.Requests = slices.Clone(p.Requests)
	if out.Requests == nil {
		out.Requests = []RollbackRequest{}
	}
	for i, r := range out.Requests {
		out.Requests[i].LogBlocksToBeDeleted = orEmpty(r.LogBlocksToBeDeleted)
	}
	return rollbackPlan.encode(&out)
}

// DecodeRollbackPlan reads the requested file of a rollback.
func DecodeRollbackPlan(data []byte) (*RollbackPlan, error) {
	return rollbackPlan.decode(data)
}

// RollbackMetadata is what the completed file of a rollback has.
type RollbackMetadata struct {
	StartRollbackTime string                               `avro:"startRollbackTime"` // the rollback's own
	TimeTakenInMillis int64                                `avro:"timeTakenInMillis"`
	TotalFilesDeleted int32                                `avro:"totalFilesDeleted"`
	CommitsRollback   []string                             `avro:"commitsRollback"`
	PartitionMetadata map[string]RollbackPartitionMetadata `avro:"partitionMetadata"`
	// Version is set by Encode, if it is 0.
	Version          int32         `avro:"version"`
	InstantsRollback []InstantInfo `avro:"instantsRollback"`
}

// RollbackPartitionMetadata is what a rollback did in one partition. Hudi writes full
// paths, some with a scheme.
type RollbackPartitionMetadata struct {
	PartitionPath      string           `avro:"partitionPath"`
	SuccessDeleteFiles []string         `avro:"successDeleteFiles"`
	FailedDeleteFiles  []string         `avro:"failedDeleteFiles"`
	RollbackLogFiles   map[string]int64 `avro:"rollbackLogFiles"` // sizes of those written
	// LogFilesFromFailedCommit are the sizes of those whose blocks were taken back.
	LogFilesFromFailedCommit map[string]int64 `avro:"logFilesFromFailedCommit"`
}

var rollbackMetadata = newRecord[RollbackMetadata]("rollback metadata", "HoodieRollbackMetadata")

// Encode writes the metadata as a timeline file.
func (m *RollbackMetadata) Encode() ([]byte, error) {
	return rollbackMetadata.encode(m.filled())
}

// filled is a copy in which what Hudi does not take as null is empty.
func (m *RollbackMetadata) filled() *RollbackMetadata {
	out := *m
	out.Version = orVersion(m.Version, 1)
	out.PartitionMetadata = make(map[string]RollbackPartitionMetadata, len(m.PartitionMetadata))
	for k, p := range m.PartitionMetadata {
		p.RollbackLogFiles = orEmpty(p.RollbackLogFiles)
		p.LogFilesFromFailedCommit = orEmpty(p.LogFilesFromFailedCommit)
		out.PartitionMetadata[k] = p
	}
	return &out
}

// DecodeRollbackMetadata reads the completed file of a rollback.
func DecodeRollbackMetadata(data []byte) (*RollbackMetadata, error) {
	return rollbackMetadata.decode(data)
}
