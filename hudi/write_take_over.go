package hudi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"lakefeed/hudi/timeline"
)

// TakeOver says that a transaction makes of a table which other writers kept, by whatever index and
// way of merging, one of hash buckets in which what is written later counts: one that a writer
// can go on with whose cost grows with the change. The table was opened with the number of
// [Options.Buckets] that it is to have and, if it has partitions, with [IndexGlobalKey].
//
// The transaction is an [InsertOverwriteTable], and what it writes is all rows: readers see them in
// one commit, and hoodie.properties says what the table is from then on right behind it. In between
// readers merge as before, which the new base files leave nothing of. The table is opened anew then.
// Where a crash comes between the two, [Table.FinishTakeOver] is to be called. A metadata table, which this
// package does not keep up, is taken away when the transaction begins: readers list files without it.
//
// Who reads a merge-on-read table as of an instant before the take-over merges its log files by the new rule,
// and neither [Table.Restore] nor [Table.Rollback] goes back behind it.
type TakeOver struct {
	// OrderingField is the column by which engines order changes from then on. Required.
	OrderingField string
}

// takeOverKey is the extra metadata of the commit that takes a table over: the properties that it
// is to have from then on, "" for those that it is to lose.
const takeOverKey = "lakefeed.takeover"

// mergeProperties say how records are merged, beside the payload class and what begins with propMergeProperty.
var mergeProperties = []string{
	propMergeMode, propMergeStrategy, "hoodie.compaction.record.merger.strategy", propPartialUpdate, propLegacyPayload,
	propOrdering, propDeleteField, propDeleteMarker, propUnavailable,
}

// CheckTakeOver tells why a table cannot be taken over, by an [UnsupportedError] with the way out; nil: it can be.
func (t *Table) CheckTakeOver(o TakeOver) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, err := t.takenOver(t.props, o)
	if err == nil {
		err = t.checkSchemaWritable()
	}
	return err
}

// takenOver is what the properties of a table change to, "" for what goes.
func (t *Table) takenOver(p Properties, o TakeOver) (Properties, error) {
	if o.OrderingField == "" {
		return nil, badOption("ordering field: missing")
	}
	key, by := p.list(propRecordKey), p.partitioning().fields
	if len(key) == 0 {
		return nil, &UnsupportedError{propRecordKey, "", "it does not say which columns make a row's key, and a table of hash buckets needs that"}
	}
	switch class := p.keyGenerator(); class {
	case "", keygenNone, keygenSimple, keygenComplex:
	default:
		return nil, &UnsupportedError{"key generator", class, "this writer makes partition paths as Hudi's Simple, Complex and Nonpartitioned ones do: let Spark write the rows into a table with one of these"}
	}
	next := Properties{
		propKeyGenerator: keyGenerator(key, by), propPayload: payloadOverwrite, propPrecombine: o.OrderingField, propTimezone: "UTC",
		propMetadata: "", propMetadataBusy: "", propKeyGenType: "",
	}
	maps.Copy(next, sparkOptions(CreateOptions{RecordKey: key, PartitionBy: by, Options: Options{Index: cmp.Or(t.indexType, IndexBucket), Buckets: t.buckets}}))
	for k := range p {
		if strings.HasPrefix(k, propMergeProperty) {
			next[k] = ""
		}
	}
	for _, k := range mergeProperties {
		next[k] = ""
	}
	return next, p.with(next).checkWritable()
}

// with are properties of which some are changed, or gone where the change is "".
func (p Properties) with(changes Properties) Properties {
	out := maps.Clone(p)
	for k, v := range changes {
		if out[k] = v; v == "" {
			delete(out, k)
		}
	}
	return out
}

// prepareTakeOver is prepare for a transaction that takes the table over: it need not be one that
// this package could write to as it is.
func (t *Table) prepareTakeOver(ctx context.Context, o TakeOver) error {
	if err := t.refresh(ctx); err != nil {
		return err
	}
	if _, err := t.takenOver(t.props, o); err != nil {
		return err
	}
	if err := t.checkMetadataTable(t.props); err != nil {
		return err
	}
	if !t.hashed() || t.buckets == 0 || t.partition.depth() > 0 && t.indexType != IndexGlobalKey {
		return badOption("take over: open the table with Buckets, and with index %s if it has partitions", IndexGlobalKey)
	}
	if err := t.checkSchemaWritable(); err != nil {
		return err
	}
	if err := t.clear(ctx); err != nil {
		return err
	}
	t.told = false // file groups need be no buckets till now
	return nil
}

// takeOver notes in a transaction what it makes of the table.
func (x *Txn) takeOver(o TakeOver) error {
	if x.op != InsertOverwriteTable {
		return badOption("take over: want operation %s", InsertOverwriteTable)
	}
	var err error
	x.becomes, err = x.table.takenOver(x.table.props, o)
	return err
}

// takeOverExtra is what the commit says of it.
func (x *Txn) takeOverExtra(extra map[string]string) error {
	if x.becomes == nil {
		return nil
	}
	b, err := json.Marshal(x.becomes)
	if err != nil {
		return fmt.Errorf("encode properties: %w", err)
	}
	extra[takeOverKey] = string(b)
	return nil
}

// FinishTakeOver lets hoodie.properties say what a commit with [TakeOver] made of the table, where a crash came
// between the two. It reports whether it did: then the table is to be opened anew. Where
// there is nothing to finish it asks the store nothing.
func (t *Table) FinishTakeOver(ctx context.Context) (done bool, err error) {
	if t.saysTakenOver() {
		return false, nil
	}
	text, _, err := t.LastExtra(ctx, takeOverKey)
	if err != nil || text == "" {
		return false, err
	}
	becomes := Properties{}
	if err := json.Unmarshal([]byte(text), &becomes); err != nil {
		return false, fmt.Errorf("read %s in the commits of %s: %w", takeOverKey, t.name, err)
	}
	if err := t.lock(ctx); err != nil {
		return false, err
	}
	defer t.unlock()
	err = t.refresh(ctx)
	if err == nil {
		err = t.clear(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("finish to take over %s: %w", t.name, err)
	}
	return true, t.become(ctx, becomes)
}

// saysTakenOver tells whether hoodie.properties say of the table what a take-over makes of one.
func (t *Table) saysTakenOver() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.props.checkWritable() == nil && t.props[propIndex] == string(IndexBucket)
}

// checkTakesBack refuses to take back commits of which one took the table over: by what
// hoodie.properties says since then, the files of before are merged and found otherwise.
func (t *Table) checkTakesBack(ctx context.Context, gone ...timeline.Instant) error {
	over := ""
	err := t.eachCommit(ctx, gone, func(i timeline.Instant, m *timeline.CommitMetadata) (more bool) {
		if _, found := m.ExtraMetadata[takeOverKey]; found {
			over = i.Time
		}
		return over == ""
	})
	if err != nil || over == "" {
		return err
	}
	return badOption("commit %s took the table over from another job, and %s says since then how rows are merged and found, which is wrong for the files of before: restore to that commit or a later one, or put a copy of the folder that was made before in its place", over, propertiesFile)
}

// become changes the table's properties.
func (t *Table) become(ctx context.Context, changes Properties) error {
	t.opts.Hook("properties")
	_, err := t.changeProperties(ctx, func(p Properties) (changed bool) {
		next := p.with(changes)
		changed = !maps.Equal(p, next)
		clear(p)
		maps.Copy(p, next)
		return changed
	})
	return err
}
