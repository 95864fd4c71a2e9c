package timeline

// CompactionPlan is what the requested file of a compaction has.
type CompactionPlan struct {
	Operations    []CompactionOperation `avro:"operations"`
	ExtraMetadata map[string]string     `avro:"extraMetadata"` // nil is null
	// Version is set by Encode, if it is 0.
	Version                   int32               `avro:"version"`
	Strategy                  *CompactionStrategy `avro:"strategy"`
	PreserveHoodieMetadata    bool                `avro:"preserveHoodieMetadata"`
	MissingSchedulePartitions []string            `avro:"missingSchedulePartitions"` // nil is null
}

// CompactionOperation is a file slice that a compaction merges. Files are bare names.
type CompactionOperation struct {
	BaseInstantTime   string             `avro:"baseInstantTime"`
	DeltaFilePaths    []string           `avro:"deltaFilePaths"`
	DataFilePath      *string            `avro:"dataFilePath"` // nil if the slice has no base file
	FileID            string             `avro:"fileId"`
	PartitionPath     string             `avro:"partitionPath"`
	Metrics           map[string]float64 `avro:"metrics"`
	BootstrapFilePath *string            `avro:"bootstrapFilePath"`
}

// CompactionStrategy is a strategy that a compaction plan prescribes.
type CompactionStrategy struct {
	CompactorClassName string            `avro:"compactorClassName"`
	StrategyParams     map[string]string `avro:"strategyParams"`
	Version            int32             `avro:"version"`
}

var compactionPlan = newRecord[CompactionPlan]("compaction plan", "HoodieCompactionPlan")

// compactionVersion says that file names in a plan are bare.
const compactionVersion = 2

// Encode writes the plan as a timeline file.
func (p *CompactionPlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, compactionVersion)
	out.Operations = make([]CompactionOperation, len(p.Operations))
	for i, o := range p.Operations {
		if o.DeltaFilePaths == nil {
			o.DeltaFilePaths = []string{}
		}
		o.Metrics = orEmpty(o.Metrics)
		out.Operations[i] = o
	}
	return compactionPlan.encode(&out)
}

// DecodeCompactionPlan reads the requested file of a compaction.
func DecodeCompactionPlan(data []byte) (*CompactionPlan, error) {
	return compactionPlan.decode(data)
}
