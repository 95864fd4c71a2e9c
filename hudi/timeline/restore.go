package timeline

import "slices"

// RestorePlan is what the requested file of a restore has: which instants it takes back.
type RestorePlan struct {
	InstantsToRollback []InstantInfo `avro:"instantsToRollback"` // the newest first
	// Version is set by Encode, if it is 0.
	Version                     int32  `avro:"version"`
	SavepointToRestoreTimestamp string `avro:"savepointToRestoreTimestamp,omitzero"`
}

var restorePlan = newRecord[RestorePlan]("restore plan", "HoodieRestorePlan")

// restoreVersion says that a plan names the savepoint.
const restoreVersion = 2

// Encode writes the plan as a timeline file.
func (p *RestorePlan) Encode() ([]byte, error) {
	out := *p
	out.Version = orVersion(p.Version, restoreVersion)
	out.InstantsToRollback = orNone(p.InstantsToRollback)
	return restorePlan.encode(&out)
}

// DecodeRestorePlan reads the requested file of a restore.
func DecodeRestorePlan(data []byte) (*RestorePlan, error) {
	return restorePlan.decode(data)
}

// RestoreMetadata is what the completed file of a restore has.
type RestoreMetadata struct {
	StartRestoreTime   string   `avro:"startRestoreTime"` // the restore's own
	TimeTakenInMillis  int64    `avro:"timeTakenInMillis"`
	InstantsToRollback []string `avro:"instantsToRollback"`
	// RollbackMetadata has what was done for each of these instants.
	RollbackMetadata map[string][]*RollbackMetadata `avro:"hoodieRestoreMetadata"`
	// Version is set by Encode, if it is 0.
	Version            int32         `avro:"version"`
	RestoreInstantInfo []InstantInfo `avro:"restoreInstantInfo"`
}

var restoreMetadata = newRecord[RestoreMetadata]("restore metadata", "HoodieRestoreMetadata")

// Encode writes the metadata as a timeline file.
func (m *RestoreMetadata) Encode() ([]byte, error) {
	out := *m
	out.Version = orVersion(m.Version, 1)
	out.InstantsToRollback = orNone(m.InstantsToRollback)
	out.RestoreInstantInfo = orNone(m.RestoreInstantInfo)
	out.RollbackMetadata = make(map[string][]*RollbackMetadata, len(m.RollbackMetadata))
	for instant, rollbacks := range m.RollbackMetadata {
		rollbacks = slices.Clone(orNone(rollbacks))
		for i, r := range rollbacks {
			if r != nil {
				rollbacks[i] = r.filled()
			}
		}
		out.RollbackMetadata[instant] = rollbacks
	}
	return restoreMetadata.encode(&out)
}

// DecodeRestoreMetadata reads the completed file of a restore.
func DecodeRestoreMetadata(data []byte) (*RestoreMetadata, error) {
	return restoreMetadata.decode(data)
}
