package hudi

import (
	"context"
	"errors"
	"strconv"

	"lakefeed/hudi/timeline"
)

// The schema and the number of buckets are those that the newest instant says, to us as to
// Hudi and hudi-rs. Instants are in the order in which transactions begin, and not in that
// in which they are published: what is published under an older one says nothing.

// mergeSchema takes on the schema that another writer gave the table meanwhile: rows
// that were written by the one before are there anyway. Of two changes one goes.
func (x *Txn) mergeSchema(ctx context.Context, m *timeline.CommitMetadata) error {
	t := x.table
	if x.full.Equal(x.before) {
		if err := blockReads(x.schema, t.schema); err != nil && logsIn(m) {
			return &ConflictError{Instant: x.time, Reason: "another writer changed the table's schema, in which its log files are not read", Err: err}
		}
		if _, err := evolve(x.schema, t.schema); err != nil {
			return &ConflictError{Instant: x.time, Reason: "another writer changed the table's schema, in which its rows are not read", Err: err}
		}
		x.schema, x.full, x.avro = t.schema, t.full, t.avro
		m.ExtraMetadata[timeline.SchemaKey] = t.avro
		return nil
	}
	if !t.full.Equal(x.before) && !t.full.Equal(x.full) {
		return &ConflictError{Instant: x.time, Reason: "both change the table's schema"}
	}
	if x.replacesAll() {
		return nil
	}
	if err := t.checkLogs(ctx, t.timeline, x.schema); err != nil {
		if _, inTheWay := errors.AsType[*SchemaError](err); inTheWay {
			return &ConflictError{Instant: x.time, Reason: "another writer logged rows meanwhile that stand in the way of its schema", Err: err}
		}
		return err
	}
	return nil
}

// logsIn tells whether a commit wrote log files.
func logsIn(m *timeline.CommitMetadata) bool {
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			if f, ok := parseDataFile(s.Path, 0); ok && f.IsLog() {
				return true
			}
		}
	}
	return false
}

// checkNewest refuses to change the schema or the number of buckets under an instant that is
// not the newest, unless that says the same. What is still at work may be newer where it
// takes on at its end what it finds then, as our own transactions do; a service may be
// another engine's, and goes on with what it found when it began.
func (x *Txn) checkNewest(busy map[timeline.Instant][]GroupID) error {
	t := x.table
	what := "number of buckets"
	switch {
	case !x.full.Equal(x.before) && !x.full.Equal(t.full):
		what = "schema"
	case x.count == x.had:
		return nil
	}
	newer := &ConflictError{Instant: x.time, Reason: "that began later and says the " + what + " of before, which it changes: readers believe the newest"}
	if last, ok := t.timeline.Last(); ok && last.Time > x.time {
		newer.Other = last.Time
		return newer
	}
	for i, groups := range busy {
		if i.Time > x.time && len(groups) > 0 {
			newer.Other = i.Time
			return newer
		}
	}
	return nil
}

// restate lets the commit of a service say the schema and the number of buckets of now,
// when its work is done and the lock held again: others may have changed both meanwhile.
func (t *Table) restate(ctx context.Context, m *timeline.CommitMetadata) error {
	if t.opts.Concurrency.optimistic() {
		if err := t.refresh(ctx); err != nil {
			return err
		}
	}
	m.ExtraMetadata = map[string]string{timeline.SchemaKey: t.avro}
	if t.buckets > 0 {
		m.ExtraMetadata[BucketsKey] = strconv.Itoa(t.buckets)
	}
	return nil
}
