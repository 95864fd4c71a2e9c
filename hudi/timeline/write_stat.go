package timeline

import "encoding/json"

// NoCommit is the PrevCommit of a file group's first file.
const NoCommit = "null"

// WriteStat describes one file that an instant has written. Inflight files have stats
// too, of what is planned: they have no Path.
type WriteStat struct {
	FileID           string           `json:"fileId" avro:"fileId"`
	Path             string           `json:"path" avro:"path,omitzero"` // from the table's root
	CDCStats         map[string]int64 `json:"cdcStats" avro:"cdcStats"`
	PrevCommit       string           `json:"prevCommit" avro:"prevCommit,omitzero"`
	NumWrites        int64            `json:"numWrites" avro:"numWrites"`
	NumDeletes       int64            `json:"numDeletes" avro:"numDeletes"`
	NumUpdateWrites  int64            `json:"numUpdateWrites" avro:"numUpdateWrites"`
	NumInserts       int64            `json:"numInserts" avro:"numInserts"`
	NumUpdates       int64            `json:"numUpdates,omitempty" avro:"numUpdates,omitzero"`
	TotalWriteBytes  int64            `json:"totalWriteBytes" avro:"totalWriteBytes"`
	TotalWriteErrors int64            `json:"totalWriteErrors" avro:"totalWriteErrors"`
	TempPath         string           `json:"tempPath" avro:"tempPath,omitzero"`
	PartitionPath    string           `json:"partitionPath" avro:"partitionPath"`

	TotalLogRecords              int64 `json:"totalLogRecords" avro:"totalLogRecords"`
	TotalLogFiles                int64 `json:"totalLogFiles,omitempty" avro:"totalLogFiles"`
	TotalLogFilesCompacted       int64 `json:"totalLogFilesCompacted" avro:"totalLogFilesCompacted"`
	TotalLogSizeCompacted        int64 `json:"totalLogSizeCompacted" avro:"totalLogSizeCompacted"`
	TotalUpdatedRecordsCompacted int64 `json:"totalUpdatedRecordsCompacted" avro:"totalUpdatedRecordsCompacted"`
	TotalLogBlocks               int64 `json:"totalLogBlocks" avro:"totalLogBlocks"`
	TotalCorruptLogBlock         int64 `json:"totalCorruptLogBlock" avro:"totalCorruptLogBlock"`
	TotalRollbackBlocks          int64 `json:"totalRollbackBlocks" avro:"totalRollbackBlocks"`
	TotalLogReadTimeMs           int64 `json:"totalLogReadTimeMs,omitempty" avro:"totalLogReadTimeMs"`

	FileSizeInBytes int64         `json:"fileSizeInBytes" avro:"fileSizeInBytes"`
	MinEventTime    *int64        `json:"minEventTime" avro:"minEventTime"`
	MaxEventTime    *int64        `json:"maxEventTime" avro:"maxEventTime"`
	PrevBaseFile    string        `json:"prevBaseFile,omitempty" avro:"prevBaseFile,omitzero"`
	RuntimeStats    *RuntimeStats `json:"runtimeStats" avro:"runtimeStats"`

	// The rest is of log files, which have at least themselves in LogFiles.
	LogVersion int32    `json:"logVersion" avro:"logVersion"`
	LogOffset  int64    `json:"logOffset" avro:"logOffset"`
	BaseFile   string   `json:"baseFile" avro:"baseFile,omitzero"` // name only; empty if the slice has none
	LogFiles   []string `json:"logFiles" avro:"logFiles"`
}

// RuntimeStats is how long writing a file took, in milliseconds.
type RuntimeStats struct {
	TotalScanTime   int64 `json:"totalScanTime" avro:"totalScanTime"`
	TotalUpsertTime int64 `json:"totalUpsertTime" avro:"totalUpsertTime"`
	TotalCreateTime int64 `json:"totalCreateTime" avro:"totalCreateTime"`
}

// plainStat is a WriteStat without its MarshalJSON.
type plainStat WriteStat

// baseStat is what is written of a base file. Its fields hide those of plainStat, to
// write null for an absent text and to leave out the fields of log files.
type baseStat struct {
	plainStat
	Path          *string   `json:"path"`
	TempPath      *string   `json:"tempPath"`
	PartitionPath *string   `json:"partitionPath"`
	LogVersion    *int32    `json:"logVersion,omitempty"`
	LogOffset     *int64    `json:"logOffset,omitempty"`
	BaseFile      *string   `json:"baseFile,omitempty"`
	LogFiles      *[]string `json:"logFiles,omitempty"`
}

// MarshalJSON writes the fields that Hudi writes: those of log files for them only, and
// null for an absent path.
func (s WriteStat) MarshalJSON() ([]byte, error) {
	out := baseStat{plainStat: plainStat(s)}
	if s.Path != "" {
		out.Path, out.PartitionPath = &s.Path, &s.PartitionPath
	}
	if s.TempPath != "" {
		out.TempPath = &s.TempPath
	}
	if s.LogFiles != nil {
		out.LogVersion, out.LogOffset = &s.LogVersion, &s.LogOffset
		out.BaseFile, out.LogFiles = &s.BaseFile, &s.LogFiles
	}
	return json.Marshal(out)
}
