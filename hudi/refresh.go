package hudi

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// What other writers committed since the table was last looked at is taken in from what
// their commits say of themselves, so that its price is that of the change. Where that
// may not be all, as after a rollback or a restore, the table's folders are listed anew.

// news is what happened on the timeline since it was last looked at.
type news struct {
	timeline *timeline.Timeline
	commits  []timeline.Instant // completed writes, the oldest first
	cleans   []timeline.Instant // completed
	archived bool               // some instants are gone
}

// newsSince compares the names of the timeline's files with those that were known; ok is
// false where there is more to learn than commits and cleanings tell.
func newsSince(old *timeline.Timeline, known, names []string) (n news, ok bool) {
	if known == nil || old.Layout() != timeline.Layout1 {
		return news{}, false
	}
	added, gone := difference(known, names)
	n.timeline = old.With(added...)
	if n.archived = len(gone) > 0; n.archived {
		n.timeline = timeline.NewLayout(old.Layout(), names)
	}
	if mayLackUnseen(old, n.timeline) {
		return news{}, false
	}
	for _, name := range gone {
		// Archiving takes away the files of whole instants, the oldest ones.
		if i, ok := timeline.ParseName(name); ok && (n.timeline.Has(i.Time) || !n.timeline.BeforeStart(i.Time)) {
			return news{}, false
		}
	}
	for _, name := range added {
		i, ok := timeline.ParseName(name)
		switch {
		case !ok || i.Action == timeline.Savepoint:
		case i.Action == timeline.Clean:
			if i.State == timeline.Completed {
				n.cleans = append(n.cleans, i)
			}
		case i.Writes():
			if i.State == timeline.Completed {
				n.commits = append(n.commits, i)
			}
		default:
			return news{}, false
		}
	}
	return n, true
}

// mayLackUnseen tells whether writes may have come and been archived since a timeline was
// looked at. Archiving takes the oldest instants: while the newest write that was known is
// there, so are all that came behind it; what was pending may have completed meanwhile.
func mayLackUnseen(old, now *timeline.Timeline) bool {
	last, ok := old.Last()
	return !ok || !now.Has(last.Time) ||
		slices.ContainsFunc(old.Pending(), func(i timeline.Instant) bool { return !now.Has(i.Time) })
}

// difference compares two lists in order.
func difference(old, now []string) (added, gone []string) {
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(old) == 0 || len(now) > 0 && now[0] < old[0]:
			added, now = append(added, now[0]), now[1:]
		case len(now) == 0 || old[0] < now[0]:
			gone, old = append(gone, old[0]), old[1:]
		default:
			old, now = old[1:], now[1:]
		}
	}
	return added, gone
}

// catchUp takes in what happened on the timeline; ok is false where the table must be
// listed anew, and nothing has changed then.
func (t *Table) catchUp(ctx context.Context, props Properties, names []string) (ok bool, err error) {
	if t.stale {
		return false, nil
	}
	n, ok := newsSince(t.timeline, t.names, names)
	if !ok {
		return false, nil
	}
	commits := make([]*timeline.CommitMetadata, len(n.commits))
	for i, c := range n.commits {
		if commits[i], err = t.readCommit(ctx, c); err != nil {
			return false, ignoreGone(err)
		}
	}
	var deleted []*DataFile
	for _, c := range n.cleans {
		files, err := t.readCleaned(ctx, c)
		if err != nil {
			return false, ignoreGone(err)
		}
		deleted = append(deleted, files...)
	}
	s, ok, err := t.settingsAfter(n.commits, commits)
	if err != nil || !ok {
		return false, err
	}
	for i, c := range n.commits {
		t.written.add(c.Time, c.Completion, commits[i])
	}
	if n.archived {
		t.written.keep(n.timeline)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range n.commits {
		t.view.take(c.Time, commits[i])
	}
	for _, f := range deleted {
		t.view.drop(f)
	}
	t.props, t.timeline = props, n.timeline
	t.schema, t.full, t.avro = s.schema, s.full, s.avro
	t.names = names
	return true, nil
}

// ignoreGone is nil where a file of the timeline is gone again, or does not say what a service did.
func ignoreGone(err error) error {
	if saysNothing(err) {
		return nil
	}
	return err
}

// take adds the files that a completed write made, and notes the groups that it replaced.
func (v *view) take(instant string, m *timeline.CommitMetadata) {
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			if f, ok := parseDataFile(s.Path, s.FileSizeInBytes); ok {
				v.add(f)
			}
		}
	}
	v.replace(instant, m)
}

// readCleaned are the files that a cleaning deleted.
func (t *Table) readCleaned(ctx context.Context, i timeline.Instant) ([]*DataFile, error) {
	m, err := readAs(ctx, t, i, timeline.DecodeCleanMetadata)
	if err != nil {
		return nil, err
	}
	var out []*DataFile
	for partition, p := range m.PartitionMetadata {
		for _, name := range p.SuccessDeleteFiles {
			if f, ok := parseDataFile(path.Join(partition, path.Base(name)), 0); ok {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// tableSchema is a table's schema in its three forms.
type tableSchema struct {
	schema *arrow.Schema // data columns
	full   *arrow.Schema // with the meta columns
	avro   string        // the data columns
}

// settingsAfter is the schema after some commits; ok is false where they say more that
// is new.
func (t *Table) settingsAfter(at []timeline.Instant, commits []*timeline.CommitMetadata) (s tableSchema, ok bool, err error) {
	s = tableSchema{t.schema, t.full, t.avro}
	last, _ := t.timeline.Last()
	avro := ""
	for i, m := range commits {
		if at[i].Time > last.Time {
			avro = cmp.Or(m.ExtraMetadata[timeline.SchemaKey], avro)
		}
		if m.ExtraMetadata[schema.LatestKey] != t.latest {
			return s, false, nil // columns may have got other names
		}
		if count := m.ExtraMetadata[BucketsKey]; count != "" && count != strconv.Itoa(t.buckets) {
			return s, false, nil
		}
	}
	if avro == "" || avro == s.avro {
		return s, true, nil
	}
	if s.schema, err = schema.ToArrow(avro); err != nil {
		return s, false, fmt.Errorf("read the table's schema: %w", err)
	}
	s.full, s.avro = schema.ArrowWithMeta(s.schema), avro
	return s, true, nil
}
