package timeline

// ActionInstant names an instant in a cleaner plan.
type ActionInstant struct {
	Timestamp string `avro:"timestamp"`
	Action    string `avro:"action"`
	State     string `avro:"state"` // as State's String
}

// The cleaning policies, as plans and metadata name them.
const (
	KeepLatestCommits      = "KEEP_LATEST_COMMITS"
	KeepLatestFileVersions = "KEEP_LATEST_FILE_VERSIONS"
	KeepLatestByHours      = "KEEP_LATEST_BY_HOURS"
)

// cleanVersion is the version of cleaner plans and clean metadata that Hudi writes.
const cleanVersion = 2

// CleanerPlan is what the requested and inflight files of a clean have.
type CleanerPlan struct {
	EarliestInstantToRetain      *ActionInstant `avro:"earliestInstantToRetain"`
	LastCompletedCommitTimestamp string         `avro:"lastCompletedCommitTimestamp"`
	Policy                       string         `avro:"policy"`
	// FilesToBeDeletedPerPartition is of version 1 only.
	FilesToBeDeletedPerPartition map[string][]string `avro:"filesToBeDeletedPerPartition"`
	// Version is set by Encode, if it is 0.
	Version                          int32                      `avro:"version"`
	FilePathsToBeDeletedPerPartition map[string][]CleanFileInfo `avro:"filePathsToBeDeletedPerPartition"`
	PartitionsToBeDeleted            []string                   `avro:"partitionsToBeDeleted"`
	ExtraMetadata                    map[string]string          `avro:"extraMetadata"`
}

// CleanFileInfo is a file that a clean deletes.
type CleanFileInfo struct {
	FilePath            string `avro:"filePath"` // full path
	IsBootstrapBaseFile bool   `avro:"isBootstrapBaseFile"`
}

var cleanerPlan = newRecord[CleanerPlan]("cleaner plan", "HoodieCleanerPlan")

// Encode writes the plan as a timeline file.
func (p *CleanerPlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, cleanVersion)
	out.FilesToBeDeletedPerPartition = orEmpty(p.FilesToBeDeletedPerPartition)
	out.FilePathsToBeDeletedPerPartition = orEmpty(p.FilePathsToBeDeletedPerPartition)
	out.ExtraMetadata = orEmpty(p.ExtraMetadata)
	if out.PartitionsToBeDeleted == nil {
		out.PartitionsToBeDeleted = []string{}
	}
	return cleanerPlan.encode(&out)
}

// DecodeCleanerPlan reads the requested file of a clean, or its inflight file if that is
// not empty.
func DecodeCleanerPlan(data []byte) (*CleanerPlan, error) {
	return cleanerPlan.decode(data)
}

// CleanMetadata is what the completed file of a clean has.
type CleanMetadata struct {
	StartCleanTime               string                            `avro:"startCleanTime"` // the clean's own
	TimeTakenInMillis            int64                             `avro:"timeTakenInMillis"`
	TotalFilesDeleted            int32                             `avro:"totalFilesDeleted"`
	EarliestCommitToRetain       string                            `avro:"earliestCommitToRetain"`
	LastCompletedCommitTimestamp string                            `avro:"lastCompletedCommitTimestamp"`
	PartitionMetadata            map[string]CleanPartitionMetadata `avro:"partitionMetadata"`
	// Version is set by Encode, if it is 0.
	Version                    int32                             `avro:"version"`
	BootstrapPartitionMetadata map[string]CleanPartitionMetadata `avro:"bootstrapPartitionMetadata"`
	ExtraMetadata              map[string]string                 `avro:"extraMetadata"`
}

// CleanPartitionMetadata is what a clean did in one partition. Files are bare names.
type CleanPartitionMetadata struct {
	PartitionPath      string   `avro:"partitionPath"`
	Policy             string   `avro:"policy"`
	DeletePathPatterns []string `avro:"deletePathPatterns"` // what the plan named
	SuccessDeleteFiles []string `avro:"successDeleteFiles"`
	FailedDeleteFiles  []string `avro:"failedDeleteFiles"`
	IsPartitionDeleted bool     `avro:"isPartitionDeleted"`
}

var cleanMetadata = newRecord[CleanMetadata]("clean metadata", "HoodieCleanMetadata")

// Encode writes the metadata as a timeline file.
func (m *CleanMetadata) Encode() ([]byte, error) {
	out := *m
	out.Version = orVersion(m.Version, cleanVersion)
	out.BootstrapPartitionMetadata = orEmpty(m.BootstrapPartitionMetadata)
	out.ExtraMetadata = orEmpty(m.ExtraMetadata)
	return cleanMetadata.encode(&out)
}

// DecodeCleanMetadata reads the completed file of a clean.
func DecodeCleanMetadata(data []byte) (*CleanMetadata, error) {
	return cleanMetadata.decode(data)
}
