package hudi

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"lakefeed/hudi/timeline"
)

// readCommit reads what a completed write says about itself.
func (t *Table) readCommit(ctx context.Context, i timeline.Instant) (*timeline.CommitMetadata, error) {
	data, err := t.readInstant(ctx, i)
	if err != nil {
		return nil, err
	}
	return t.parseCommit(i, data)
}

// parseCommit makes sense of the completed file of a write. What does not fit the instant, or
// the table, is damage, as rows would be missing by it, or come twice.
func (t *Table) parseCommit(i timeline.Instant, data []byte) (*timeline.CommitMetadata, error) {
	m, err := unmarshalCommit(data)
	if err == nil && i.Action == timeline.ReplaceCommit && m.PartitionToReplaceFileIDs == nil {
		err = errors.New("it does not say which file groups it replaced (partitionToReplaceFileIds): restore it from a copy")
	}
	if err == nil {
		err = checkStats(i, m)
	}
	if err != nil {
		return nil, &CorruptError{t.instantFile(i), err}
	}
	if t.partition.depth() > 0 {
		return m, nil
	}
	for partition := range m.PartitionToWriteStats {
		if partition != "" {
			return nil, &CorruptError{propertiesFile, fmt.Errorf("it names no partition columns (%s), and commit %s wrote to partition %s: add that line, or restore the file from a copy", propPartition, i.Time, partition)}
		}
	}
	return m, nil
}

// unmarshalCommit reads the metadata of a completed write. Hudi takes an empty file for a
// commit of nothing that is known, and shows its rows; it is what a crash leaves of a
// commit on a disk that had not stored it.
func unmarshalCommit(data []byte) (*timeline.CommitMetadata, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty, and does not say what the commit wrote: restore it from a copy")
	}
	return timeline.UnmarshalCommit(data) //nolint:wrapcheck // the caller names the file
}

// checkStats sees that a commit names files of its own: base files of its time, and each file in the
// partition and of the file group under which it is named.
func checkStats(i timeline.Instant, m *timeline.CommitMetadata) error {
	for partition, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			f, ok := parseDataFile(s.Path, 0)
			switch {
			case !ok:
			case f.Partition != partition, s.PartitionPath != "" && s.PartitionPath != partition:
				return fmt.Errorf("it names %s (partition %q) under partition %q: restore it from a copy", s.Path, s.PartitionPath, partition)
			case s.FileID != "" && s.FileID != f.FileID:
				return fmt.Errorf("it names %s as one of file group %s: restore it from a copy", s.Path, s.FileID)
			case !f.IsLog() && f.Instant != i.Time:
				return fmt.Errorf("it names %s, which is of instant %s: restore it from a copy", s.Path, f.Instant)
			}
		}
	}
	return nil
}
