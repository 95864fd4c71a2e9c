package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/scalar"

	"lakefeed/change"
	"lakefeed/hudi"
)

// sharedTable is a table of the lake that several shards write: one [hudi.Table] for all of
// their targets. Each commit has the checkpoints of all shards, those of others as they were,
// so that no archiving takes the newest one of a shard away that has not changed for long.
type sharedTable struct {
	shards *Shards
	turn   chan struct{} // whoever opens or writes the table holds it

	// Whose turn it is may use these.
	table *hudi.Table           // nil: it was not opened, or is not there
	marks map[string]string     // the newest checkpoints, by their keys in extra metadata
	doubt bool                  // a commit was begun whose end is not known: the marks may be older than the table
	read  map[string]change.LSN // how far each shard was when the marks were read

	mu      sync.Mutex // guards what follows
	members map[string]*target
	meeting *meeting // whose parts of a commit come together; nil: nobody waits
}

// take waits for the turn.
func (s *sharedTable) take(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other shards: %w", ctx.Err())
	}
}

// attach notes that a shard's stream has the table.
func (s *sharedTable) attach(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[t.shard] = t
}

func (s *sharedTable) detach(shard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, shard)
	s.meeting.look(s.members)
}

// takeTurn waits for the turn at a table of shards. Whose own lake is away does not get it: he may
// not have the locks, nor be able to keep records of what he does.
func (t *target) takeTurn(ctx context.Context) (release func(), err error) {
	if err := t.reaches(); err != nil {
		return nil, err
	}
	return t.shared.take(ctx)
}

// reaches is why the lake is away for the shard, nil where it is not.
func (t *target) reaches() error {
	if away := t.gate.closed(); away != nil {
		return away
	}
	return nil
}

// forget is detach for a table that its shard's stream has no more.
func (s *sharedTable) forget(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[t.shard] == t {
		delete(s.members, t.shard)
		s.meeting.look(s.members)
	}
}

// all are the targets of shards that have the table.
func (s *sharedTable) all() []*target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.members))
}

// open opens the table, or looks at it again, and reads the shards' checkpoints. Where that fails,
// for whatever reason of one shard, the others keep what they have: only a table that is not
// there is gone for all.
func (s *sharedTable) open(ctx context.Context, t *target, options hudi.Options) (*hudi.Table, error) {
	table := s.table
	if table == nil || table.Refresh(ctx) != nil { // it was taken away, perhaps, and another is in its place
		opened, err := hudi.Open(ctx, t.store, options)
		if errors.Is(err, hudi.ErrNoTable) {
			s.gone()
		}
		if err != nil {
			return nil, err
		}
		table = opened
	}
	if err := s.recall(ctx, table); err != nil {
		return nil, err
	}
	s.table = table
	return table, nil
}

// gone notes that there is no table.
func (s *sharedTable) gone() { s.table, s.marks, s.read, s.doubt = nil, nil, nil, false }

// recall reads the shards' checkpoints.
func (s *sharedTable) recall(ctx context.Context, table *hudi.Table) error {
	marks, err := table.LastExtras(ctx, shardKeys)
	if err != nil {
		return err
	}
	s.marks, s.read, s.doubt = marks, map[string]change.LSN{}, false
	for key, mark := range marks {
		if c, err := decodeCheckpoint(mark); err == nil { // else the shard meets that itself
			s.read[strings.TrimPrefix(key, shardKeys)] = c.LSN
		}
	}
	return nil
}

// certain reads the checkpoints again where a commit may stand whose answer was lost.
func (s *sharedTable) certain(ctx context.Context) error {
	if !s.doubt || s.table == nil {
		return nil
	}
	if err := s.table.Refresh(ctx); err != nil {
		return fmt.Errorf("look whether a commit stands: %w", err)
	}
	return s.recall(ctx, s.table)
}

// passed is the error of a shard that does not know of a commit of its own, which it reads anew then.
func (t *target) passed() error {
	if at := t.shared.read[t.shard]; at > t.at.LSN {
		return fmt.Errorf("a commit of %s up to %s stands, whose answer was lost", t.name, at)
	}
	return nil
}

// extra is what a commit of some shards' rows carries. Until it is known to stand, the marks are in doubt.
func (s *sharedTable) extra(of map[string]checkpoint) (map[string]string, error) {
	out := maps.Clone(s.marks)
	if out == nil {
		out = map[string]string{}
	}
	for shard, c := range of {
		b, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("encode checkpoint: %w", err)
		}
		out[shardKeys+shard] = string(b)
	}
	s.doubt = true
	return out, nil
}

// committed notes the checkpoints of a commit, and that its instant shows what all shards have.
func (s *sharedTable) committed(extra map[string]string) {
	s.marks, s.doubt = extra, false
	s.show()
}

// show tells all shards the newest instant.
func (s *sharedTable) show() {
	instant := newestInstant(s.table)
	for _, t := range s.all() {
		t.report(func(st *TableStatus) {
			if st.Instant != "" {
				st.Instant = instant
			}
		})
	}
}

// extraOf is what a commit carries that moves the table to a checkpoint.
func (t *target) extraOf(c checkpoint) (map[string]string, error) {
	if t.shared == nil {
		return c.extra()
	}
	return t.shared.extra(map[string]checkpoint{t.shard: c})
}

// carried notes that a commit of its own stands, which carried extra.
func (t *target) carried(extra map[string]string) {
	if t.shared != nil {
		t.shared.committed(extra)
	}
}

// alone keeps other shards from writing the table; one that is nobody else's is free.
func (t *target) alone(ctx context.Context) (release func(), err error) {
	if t.shared == nil {
		return func() {}, nil
	}
	release, err = t.takeTurn(ctx)
	if err != nil || t.shared.table == nil {
		return release, err
	}
	t.table = t.shared.table
	if err = t.shared.certain(ctx); err == nil {
		err = t.passed()
	}
	if err != nil {
		release()
	}
	return release, err
}

// keyedByShard reports whether the shard is a part of the rows' keys: so no two shards have one.
func keyedByShard(v *change.Table) bool {
	return v.KeyKind == change.NoKey || inKey(v, shardColumnOf(v))
}

// ownRows is the condition of a shard's own rows in the lake; zero, without a shard: all are.
func ownRows(shard string) hudi.Filter {
	if shard == "" {
		return hudi.Filter{}
	}
	return hudi.Compare(colShard, hudi.Equal, scalar.NewStringScalar(shard))
}

// forgetRows sorts the keys of all rows that the lake has of the shard, to be deleted.
func (t *target) forgetRows(ctx context.Context, out *hudi.Sorter) error {
	columns := []string{"_hoodie_record_key", "_hoodie_partition_path"}
	for rec, err := range t.table.Read(ctx, hudi.ReadOptions{Columns: columns, Filter: ownRows(t.shard), Parallel: 1, Pin: readPin}) {
		if err != nil {
			return fmt.Errorf("read the keys of shard %s: %w", t.shard, err)
		}
		keys, folders := rec.Column(0).(*array.String), rec.Column(1).(*array.String)
		gone := map[string][]string{}
		for row := range keys.Len() {
			gone[folders.Value(row)] = append(gone[folders.Value(row)], strings.Clone(keys.Value(row)))
		}
		for _, folder := range slices.Sorted(maps.Keys(gone)) {
			if err := out.Delete(ctx, strings.Clone(folder), gone[folder]); err != nil {
				return fmt.Errorf("sort keys: %w", err)
			}
		}
	}
	return nil
}

// overSorter sorts rows that take the place of others.
func (p *Pipeline) overSorter(t *hudi.Table, schema *arrow.Schema) *hudi.Sorter {
	return hudi.NewSorter(hudi.SortOptions{
		Schema: schema, RecordKey: t.RecordKey(), Buckets: t.Buckets(), Lanes: 1,
		SortBytes: p.opts.MemoryBudget / 4, TempDir: p.spillDir,
	})
}

// overGroups takes what a commit does to file groups, where rows may take the place of others.
type overGroups struct {
	sortedGroups

	look func(ctx context.Context, keys []string) error
}

func (o *overGroups) flush(ctx context.Context) error { return o.sorter.WriteOver(ctx, o.txn, o.look) }

// ShardClashError is a row of a shard under a key that another shard's row has.
type ShardClashError struct{ Table, Key, Shard, Other string }

// Error names the key and both shards, and the way out.
func (e *ShardClashError) Error() string {
	return fmt.Sprintf("the row with key %q of shard %s has the key of a row of shard %s in the lake, and the shard is no part of the keys of %s (shard_in_key: false): delete one of the two in its database, or change its key; the other shards go on, and this one is tried again", e.Key, e.Shard, e.Other, e.Table)
}

// ownersOf says whose rows the lake has of keys in a file group: shards by keys, those without a row left out. Rows of
// before there were shards are "?"'s.
func (t *target) ownersOf(ctx context.Context, in groupID, keys []string) (map[string]string, error) {
	rec, at, err := t.table.Lookup(ctx, in.partition, in.bucket, keys, []string{colShard})
	if err != nil || rec == nil {
		return nil, err
	}
	defer rec.Release()
	shards := rec.Column(0).(*array.String)
	owners := map[string]string{}
	for i, key := range keys {
		if at[i] >= 0 {
			owners[key] = cmp.Or(strings.Clone(shards.Value(at[i])), "?")
		}
	}
	return owners, nil
}

// guard keeps what a round does off the rows of other shards: a row under the key of one is a
// *[ShardClashError], and a delete counts for nothing unless it is the shard's own row that the lake has. So no key
// comes twice in a commit of several shards, as a delete of the one and as the row of the other.
func (t *target) guard(ctx context.Context, r *reduction, in *places) error {
	written := map[string]bool{}
	for _, at := range r.upserts {
		written[r.key(at)] = true
	}
	for _, w := range in.works {
		keys := slices.Clone(w.deletes)
		for _, at := range w.upserts {
			keys = append(keys, r.key(at))
		}
		owners, err := t.ownersOf(ctx, w.groupID, keys)
		if err != nil {
			return fmt.Errorf("look whose rows have keys in %s: %w", w, err)
		}
		for key, owner := range owners {
			if written[key] && owner != t.shard {
				return &ShardClashError{t.name, key, t.shard, owner}
			}
		}
		w.deletes = slices.DeleteFunc(w.deletes, func(key string) bool { return owners[key] != t.shard })
	}
	in.works = slices.DeleteFunc(in.works, func(w *work) bool { return len(w.upserts)+len(w.deletes) == 0 })
	return nil
}

// claims are the keys of a commit's rows, and the shards that they are of.
type claims map[string]string

// claim notes the keys of rows; one that another shard has in the same commit is a *[ShardClashError].
func (c claims) claim(t *target, r *reduction) error {
	for _, at := range r.upserts {
		key := r.key(at)
		if other, ok := c[key]; ok && other != t.shard {
			return &ShardClashError{t.name, key, t.shard, other}
		}
		c[key] = t.shard
	}
	return nil
}
