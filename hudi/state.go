package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// adopt makes of the files that were listed, and of a timeline, what the table is.
func (t *Table) adopt(ctx context.Context, props Properties, v *view, tl *timeline.Timeline) (err error) {
	if tl.Layout() == timeline.Layout2 {
		if v.archived, err = t.archivedCompletions(ctx, props, v.archivedLogs(tl)); err != nil {
			return err
		}
	}
	replaces := slices.DeleteFunc(tl.Completed(), func(i timeline.Instant) bool { return !i.Replaces() })
	err = t.eachCommit(ctx, replaces, func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		v.replace(i.Time, m)
		return true
	})
	if err != nil {
		return err
	}
	avro, latest, buckets, err := t.readSettings(ctx, tl, props, v)
	if err != nil {
		return err
	}
	s, err := schema.ToArrow(avro)
	if err != nil {
		return fmt.Errorf("read the table's schema: %w", err)
	}
	chosen, err := chooseIndex(t.opts.Index, props, buckets)
	if err != nil {
		return err
	}
	t.written.keep(tl)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.props, t.timeline, t.view, t.buckets, t.indexType = props, tl, v, buckets, chosen
	t.schema, t.full, t.avro = s, schema.ArrowWithMeta(s), avro
	t.latest = latest
	return nil
}

// listTimeline are the names of the timeline's files, in order.
func (t *Table) listTimeline(ctx context.Context) ([]string, error) {
	names, err := storage.Names(ctx, t.store, t.timelineAt)
	if err != nil {
		return nil, fmt.Errorf("list timeline: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name[0] < '0' || name[0] > '9' })
	if names == nil {
		names = []string{} // which is known
	}
	return names, nil
}

// readInstant reads a file of the timeline.
func (t *Table) readInstant(ctx context.Context, i timeline.Instant) ([]byte, error) {
	data, _, err := t.store.Get(ctx, t.instantFile(i))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.instantFile(i), err)
	}
	return data, nil
}

// instantFile is where a file of the timeline is.
func (t *Table) instantFile(i timeline.Instant) string { return path.Join(t.timelineAt, i.FileName()) }

// Refresh looks for what other writers did since.
func (t *Table) Refresh(ctx context.Context) error {
	if err := t.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-t.turn }()
	return t.refresh(ctx)
}

// refresh reads hoodie.properties and the timeline's names again, and the rest only
// when these differ from what is known.
func (t *Table) refresh(ctx context.Context) error {
	props, version, err := t.readPropertiesAt(ctx)
	if err != nil {
		return fmt.Errorf("refresh %s: %w", t.name, err)
	}
	if version != t.propsRead {
		t.listed, t.propsRead = false, version
	}
	if err := t.checkSameVersion(props); err != nil {
		return fmt.Errorf("refresh %s: %w", t.name, err)
	}
	same := props[propName] == t.name && slices.Equal(props.list(propRecordKey), t.key) &&
		props.ordering() == t.order && props.partitioning().equal(t.partition) && t.sameMerge(props)
	if !same {
		return fmt.Errorf("refresh %s: another table took its place: open it anew", t.name)
	}
	t.mu.Lock()
	t.typ = TableType(props[propType]) // it may have been converted
	t.mu.Unlock()
	claimed := t.claim.versionNow()
	names, err := t.listTimeline(ctx)
	if err != nil {
		return fmt.Errorf("refresh %s: %w", t.name, err)
	}
	if t.claim.looked(claimed); !slices.Equal(names, t.names) {
		t.claim.doubt()
	}
	if !t.stale && slices.Equal(names, t.names) {
		t.mu.Lock()
		t.props = props
		t.mu.Unlock()
		return nil
	}
	if ok, err := t.catchUp(ctx, props, names); err != nil || ok {
		if err != nil {
			return fmt.Errorf("refresh %s: %w", t.name, err)
		}
		return nil
	}
	t.written.forget() // what superseded the files that it knows may have been archived unseen
	if err := t.load(ctx, props, names); err != nil {
		t.names = nil // so that the next one tries anew
		return fmt.Errorf("refresh %s: %w", t.name, err)
	}
	if !slices.Equal(t.names, names) {
		t.claim.doubt()
	}
	return nil
}

func (t *Table) sameMerge(props Properties) bool {
	rule, err := props.mergeRule()
	return err == nil && reflect.DeepEqual(rule, t.merge)
}

// prepare makes ready for a transaction or service: the table as it is now, one that is
// not only read here, with nothing half done on it.
func (t *Table) prepare(ctx context.Context) error {
	if err := t.refresh(ctx); err != nil {
		return err
	}
	if err := t.checkServable(t.props); err != nil {
		return err
	}
	if err := t.checkSchemaWritable(); err != nil {
		return err
	}
	if err := t.clear(ctx); err != nil {
		return err
	}
	if err := t.checkTold(ctx); err != nil {
		return err
	}
	return t.settleBuckets(ctx)
}

// quiet tells whether nothing is known to be half done, or to be refused, and nobody else
// may have done something since.
func (t *Table) quiet() bool {
	return !t.opts.Concurrency.optimistic() && len(t.timeline.Pending()) == 0 && t.checkServable(t.props) == nil && len(t.props.metadataTable()) == 0
}

// lock waits until nothing else writes to the table through t, and where there are
// other writers until it has the table's lock.
func (t *Table) lock(ctx context.Context) error {
	if err := t.takeTurn(ctx); err != nil {
		return err
	}
	err := t.acquire(ctx)
	if err != nil {
		<-t.turn
	}
	return err
}

func (t *Table) takeTurn(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another transaction on %s: %w", t.name, ctx.Err())
	}
}

func (t *Table) unlock() {
	t.rest()
	t.release(context.Background())
	<-t.turn
}

func (t *Table) noBuckets() error {
	return &UnsupportedError{"number of buckets", "unknown", "no commit says it; set Options.Buckets, or only read the table if it has another index than BUCKET"}
}

// bucketOf is the bucket of a file group within its partition.
func (t *Table) bucketOf(fileID string) (int, error) {
	b, err := bucketOfFileID(fileID)
	switch {
	case t.buckets == 0:
		return 0, t.noBuckets()
	case err != nil || b >= t.buckets:
		return 0, &UnsupportedError{"file group", fileID, fmt.Sprintf("it is none of the %d buckets: another writer wrote without hoodie.index.type=BUCKET and %s=%d", t.buckets, BucketsKey, t.buckets)}
	}
	return b, nil
}

// LastExtra is the value of an extra-metadata key in the newest completed commit
// that has it, searched backwards past commits of other writers, and the instant of
// that commit. Both are empty when no commit has it.
func (t *Table) LastExtra(ctx context.Context, key string) (value, instant string, err error) {
	return t.ExtraBefore(ctx, key, "")
}

// ExtraBefore is LastExtra among the commits before an instant; the empty one: all.
func (t *Table) ExtraBefore(ctx context.Context, key, before string) (value, instant string, err error) {
	for _, i := range slices.Backward(t.Timeline().Completed()) {
		if before != "" && i.Time >= before {
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return "", "", fmt.Errorf("look for %s in the commits of %s: %w", key, t.name, err)
		}
		if v, ok := m.ExtraMetadata[key]; ok {
			return v, i.Time, nil
		}
	}
	return "", "", nil
}

// LastExtras is all extra metadata whose keys begin with a prefix, of the newest completed
// commit that has such; none where no commit does.
func (t *Table) LastExtras(ctx context.Context, prefix string) (map[string]string, error) {
	for _, i := range slices.Backward(t.Timeline().Completed()) {
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("look for %s... in the commits of %s: %w", prefix, t.name, err)
		}
		found := maps.Clone(m.ExtraMetadata)
		maps.DeleteFunc(found, func(key, _ string) bool { return !strings.HasPrefix(key, prefix) })
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// ServedAfter is the newest of the compactions and clusterings that directly follow an
// instant: the table shows the same rows as of both. It is empty where none does.
func (t *Table) ServedAfter(ctx context.Context, instant string) (newest string, err error) {
	for _, i := range t.Timeline().Completed() {
		if i.Time <= instant {
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return "", fmt.Errorf("look at the commits of %s: %w", t.name, err)
		}
		if !m.Compacted && m.OperationType != string(opCluster) {
			break
		}
		newest = i.Time
	}
	return newest, nil
}

// putInstant creates a file of the timeline. Somebody else's of that name is a
// conflict.
func (t *Table) putInstant(ctx context.Context, i timeline.Instant, data []byte) error {
	err := t.store.PutIfAbsent(ctx, t.instantFile(i), data)
	if errors.Is(err, storage.ErrExist) {
		return &ConflictError{Instant: i.Time, Reason: "somebody else made " + t.instantFile(i)}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", t.instantFile(i), err)
	}
	return nil
}

// nextInstant is greater than all that there are.
func (t *Table) nextInstant() string { return t.timeline.Next(t.opts.Now()) }

// with notes that files of the timeline were created.
func (t *Table) with(created ...timeline.Instant) {
	names := t.named(created)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timeline = t.timeline.With(names...)
}

// named notes the names of files of the timeline that were made.
func (t *Table) named(created []timeline.Instant) []string {
	names := make([]string, len(created))
	for i, in := range created {
		names[i] = in.FileName()
		if at, found := slices.BinarySearch(t.names, names[i]); !found && t.names != nil {
			t.names = slices.Insert(t.names, at, names[i])
		}
	}
	return names
}

// without notes that files of the timeline were deleted.
func (t *Table) without(deleted ...timeline.Instant) {
	names := make([]string, len(deleted))
	for i, in := range deleted {
		names[i] = in.FileName()
	}
	t.stale = true
	t.names = slices.DeleteFunc(t.names, func(name string) bool { return slices.Contains(names, name) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timeline = t.timeline.Without(names...)
}

// instants are the files of an instant, in the order in which they are created.
func instants(time string, action timeline.Action) [3]timeline.Instant {
	return [3]timeline.Instant{
		{Time: time, Action: action, State: timeline.Requested},
		{Time: time, Action: action, State: timeline.Inflight},
		{Time: time, Action: action, State: timeline.Completed},
	}
}
