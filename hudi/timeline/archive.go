package timeline

import (
	"fmt"
	"strings"

	"github.com/twmb/avro"
)

// ArchivedEntry is one file of a timeline of layout 1, as the archived timeline keeps it:
// an instant in one state, and what the file said.
type ArchivedEntry struct {
	Instant Instant
	// Transition is when the file was written, as Hudi 0.15 and later note it; may be
	// empty.
	Transition string
	// Commit is set for completed writes, and for replace commits that are inflight.
	Commit *CommitMetadata
	// The others are set for instants of that kind.
	CleanerPlan      *CleanerPlan
	Clean            *CleanMetadata
	CompactionPlan   *CompactionPlan
	Rollback         *RollbackMetadata
	Savepoint        *SavepointMetadata
	RequestedReplace *RequestedReplaceMetadata
	IndexCommit      *IndexCommitMetadata
}

// archivedMeta is Hudi's record of an ArchivedEntry.
type archivedMeta struct {
	Commit           *avroCommit               `avro:"hoodieCommitMetadata"`
	Clean            *CleanMetadata            `avro:"hoodieCleanMetadata"`
	Compaction       *struct{}                 `avro:"hoodieCompactionMetadata"`
	Rollback         *RollbackMetadata         `avro:"hoodieRollbackMetadata"`
	Savepoint        *SavepointMetadata        `avro:"hoodieSavePointMetadata"`
	CommitTime       string                    `avro:"commitTime"`
	ActionType       string                    `avro:"actionType"`
	Version          int32                     `avro:"version"`
	CompactionPlan   *CompactionPlan           `avro:"hoodieCompactionPlan"`
	CleanerPlan      *CleanerPlan              `avro:"hoodieCleanerPlan"`
	ActionState      string                    `avro:"actionState"`
	Replace          *avroCommit               `avro:"hoodieReplaceCommitMetadata"`
	RequestedReplace *RequestedReplaceMetadata `avro:"hoodieRequestedReplaceMetadata"`
	InflightReplace  *avroCommit               `avro:"HoodieInflightReplaceMetadata"`
	IndexCommit      *IndexCommitMetadata      `avro:"hoodieIndexCommitMetadata"`
	Transition       string                    `avro:"stateTransitionTime,omitzero"`
}

var archivedEntry = newRecord[archivedMeta]("archived entry", "HoodieArchivedMetaEntry")

// ArchivedSchema is the Avro schema of what [ArchivedEntry.Append] writes.
func ArchivedSchema() string { return archivedEntry.schema().String() }

// NewArchivedEntry makes the entry of a file of the timeline.
func NewArchivedEntry(i Instant, data []byte) (*ArchivedEntry, error) {
	e := &ArchivedEntry{Instant: i}
	if len(data) == 0 { // as pending files may be, and completed ones that a crash left
		return e, nil
	}
	var err error
	switch {
	case i.State == Completed:
		err = e.completed(data)
	case i.Action == Clean:
		e.CleanerPlan, err = DecodeCleanerPlan(data)
	case i.Action == Compaction || i.Action == LogCompaction:
		e.CompactionPlan, err = DecodeCompactionPlan(data)
	case i.Action == ReplaceCommit && i.State == Requested:
		e.RequestedReplace, err = DecodeRequestedReplaceMetadata(data)
	case i.Action.writes():
		e.Commit, err = UnmarshalCommit(data)
	default: // what a rollback or a restore planned is not kept
	}
	if err != nil {
		return nil, fmt.Errorf("archive %v: %w", i, err)
	}
	return e, nil
}

func (e *ArchivedEntry) completed(data []byte) (err error) {
	switch e.Instant.Action {
	case Clean:
		e.Clean, err = DecodeCleanMetadata(data)
	case Rollback:
		e.Rollback, err = DecodeRollbackMetadata(data)
	case Savepoint:
		e.Savepoint, err = DecodeSavepointMetadata(data)
	case Indexing:
		e.IndexCommit, err = DecodeIndexCommitMetadata(data)
	case Restore, SchemaCommit: // Hudi's record has no place for what they say
	default:
		e.Commit, err = UnmarshalCommit(data)
	}
	return err
}

// Append writes the entry behind dst, as a datum of ArchivedSchema.
func (e *ArchivedEntry) Append(dst []byte) ([]byte, error) {
	action := e.Instant.Action
	if e.Instant.State == Completed {
		action = action.family()
	}
	m := archivedMeta{
		CommitTime: e.Instant.Time, ActionType: string(action), ActionState: e.Instant.State.String(),
		Version: 1, Transition: e.Transition,
		CleanerPlan: e.CleanerPlan, Clean: e.Clean, CompactionPlan: e.CompactionPlan, Savepoint: e.Savepoint,
		RequestedReplace: e.RequestedReplace, IndexCommit: e.IndexCommit,
	}
	if e.Rollback != nil {
		m.Rollback = e.Rollback.filled()
	}
	if e.Commit != nil {
		*m.commit(e.Instant) = e.Commit.avro()
	}
	dst, err := archivedEntry.schema().AppendEncode(dst, &m)
	if err != nil {
		return nil, fmt.Errorf("encode archived %v: %w", e.Instant, err)
	}
	return dst, nil
}

// commit is where the commit metadata of an instant stands.
func (m *archivedMeta) commit(i Instant) **avroCommit {
	switch {
	case !i.Replaces():
		return &m.Commit
	case i.State == Completed:
		return &m.Replace
	default:
		return &m.InflightReplace
	}
}

// ArchivedDecoder reads the entries of archived timelines. It keeps what it found out
// about the schemas that it met.
type ArchivedDecoder struct {
	schemas map[string]*avro.Schema // that resolve the writers' to ours
}

// Decode reads one entry, which was written with the given Avro schema.
func (d *ArchivedDecoder) Decode(schema string, datum []byte) (*ArchivedEntry, error) {
	resolved := d.schemas[schema]
	if resolved == nil {
		writer, err := avro.Parse(schema)
		if err == nil {
			resolved, err = avro.Resolve(writer, archivedEntry.schema())
		}
		if err != nil {
			return nil, fmt.Errorf("read the schema of archived entries: %w", err)
		}
		if d.schemas == nil {
			d.schemas = map[string]*avro.Schema{}
		}
		d.schemas[schema] = resolved
	}
	var m archivedMeta
	if _, err := resolved.Decode(datum, &m); err != nil {
		return nil, fmt.Errorf("decode archived entry: %w", err)
	}
	return m.entry()
}

func (m *archivedMeta) entry() (*ArchivedEntry, error) {
	i := Instant{Time: m.CommitTime, Action: Action(strings.ToLower(m.ActionType)), State: Completed}
	for s := range Completed {
		if m.ActionState == s.String() {
			i.State = s
		}
	}
	if !digits(i.Time) || !i.Action.known() {
		return nil, fmt.Errorf("decode archived entry: it is of %q %q, which is no instant", m.CommitTime, m.ActionType)
	}
	e := &ArchivedEntry{
		Instant: i, Transition: m.Transition,
		CleanerPlan: m.CleanerPlan, Clean: m.Clean, CompactionPlan: m.CompactionPlan, Rollback: m.Rollback,
		Savepoint: m.Savepoint, RequestedReplace: m.RequestedReplace, IndexCommit: m.IndexCommit,
	}
	if c := *m.commit(i); c != nil {
		e.Commit = c.present()
	}
	return e, nil
}

// MergeArchivePlan says which files of the archived timeline are being joined into one.
// While it is there, that one may be incomplete.
type MergeArchivePlan struct {
	Version               int32    `avro:"version"`
	Candidates            []string `avro:"candidate"`
	MergedArchiveFileName string   `avro:"mergedArchiveFileName"` // name only
}

var mergeArchivePlan = newRecord[MergeArchivePlan]("merge archive plan", "HoodieMergeArchiveFilePlan")

// Encode writes the plan as a file.
func (p *MergeArchivePlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, 1)
	return mergeArchivePlan.encode(&out)
}

// DecodeMergeArchivePlan reads the file mergeArchivePlan of an archived timeline.
func DecodeMergeArchivePlan(data []byte) (*MergeArchivePlan, error) {
	return mergeArchivePlan.decode(data)
}
