package timeline

// RequestedReplaceMetadata is what the requested file of a replace commit has. That of an
// overwrite is all null, as the zero value is; that of a clustering has its plan.
type RequestedReplaceMetadata struct {
	OperationType  *string           `avro:"operationType"`
	ClusteringPlan *ClusteringPlan   `avro:"clusteringPlan"`
	ExtraMetadata  map[string]string `avro:"extraMetadata"`
	Version        *int32            `avro:"version"`
}

// ClusteringPlan is which file groups a clustering rewrites.
type ClusteringPlan struct {
	InputGroups               []ClusteringGroup   `avro:"inputGroups"`
	Strategy                  *ClusteringStrategy `avro:"strategy"`
	ExtraMetadata             map[string]string   `avro:"extraMetadata"`
	Version                   int32               `avro:"version"`
	PreserveHoodieMetadata    *bool               `avro:"preserveHoodieMetadata"`
	MissingSchedulePartitions []string            `avro:"missingSchedulePartitions"`
}

// ClusteringGroup is slices that a clustering rewrites together.
type ClusteringGroup struct {
	Slices              []SliceInfo        `avro:"slices"`
	Metrics             map[string]float64 `avro:"metrics"`
	NumOutputFileGroups int32              `avro:"numOutputFileGroups"`
	ExtraMetadata       map[string]string  `avro:"extraMetadata"`
	Version             int32              `avro:"version"`
}

// SliceInfo is a file slice that a clustering rewrites. Files are full paths.
type SliceInfo struct {
	DataFilePath      string   `avro:"dataFilePath"`
	DeltaFilePaths    []string `avro:"deltaFilePaths"`
	FileID            string   `avro:"fileId"`
	PartitionPath     string   `avro:"partitionPath"`
	BootstrapFilePath string   `avro:"bootstrapFilePath"`
	Version           int32    `avro:"version"`
}

// ClusteringStrategy is how a clustering rewrites.
type ClusteringStrategy struct {
	StrategyClassName string            `avro:"strategyClassName"`
	StrategyParams    map[string]string `avro:"strategyParams"`
	Version           int32             `avro:"version"`
}

var requestedReplace = newRecord[RequestedReplaceMetadata]("requested replace metadata", "HoodieRequestedReplaceMetadata")

// Encode writes the metadata as a timeline file.
func (m *RequestedReplaceMetadata) Encode() ([]byte, error) {
	return requestedReplace.encode(m)
}

// DecodeRequestedReplaceMetadata reads the requested file of a replace commit. A file
// without content has empty metadata.
func DecodeRequestedReplaceMetadata(data []byte) (*RequestedReplaceMetadata, error) {
	if len(data) == 0 {
		return &RequestedReplaceMetadata{}, nil
	}
	return requestedReplace.decode(data)
}
