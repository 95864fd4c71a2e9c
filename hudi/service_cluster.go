package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/timeline"
)

// ClusterOptions say when a clustering is worth its while, what it lays out anew, and how.
type ClusterOptions struct {
	// MinCommits is how many commits there must be since the last clustering; 0: none, and
	// for services that run by themselves 4, as Hudi's hoodie.clustering.inline.max.commits.
	MinCommits int
	// Partitions to look at; nil: all.
	Partitions []string
	// SortBy names columns that rows are sorted by, so that readers that filter by them
	// pass over most files, row groups and pages. Empty: small files are joined only.
	SortBy []string
	// SmallFileBytes is the size below which file groups are joined; 0: 100 MiB. With
	// SortBy all take part.
	SmallFileBytes int64
	// TargetFileBytes is about how large the new files become; 0: Options.MaxFileBytes.
	TargetFileBytes int64
	// MaxBytes bounds what one clustering reads, so that it ends in time; 0: no bound. The
	// partitions of the most recent instants come first.
	MaxBytes int64
	// MaxTime is how long groups of file groups that are written together are begun; 0: no
	// bound. What is begun by then is ended, the first one in any case, and published.
	MaxTime time.Duration
	// SortBytes is how much waits in memory to be sorted, in bytes of Arrow; 0: 128 MiB.
	// The rest waits in TempDir; "": the system's.
	SortBytes int64
	TempDir   string
}

// Validate tells what is wrong with the options, naming the field.
func (o *ClusterOptions) Validate() error {
	if o.MinCommits < 0 || o.SmallFileBytes < 0 || o.TargetFileBytes < 0 || o.MaxBytes < 0 || o.MaxTime < 0 || o.SortBytes < 0 {
		return badOption("cluster: a size, number or time is less than nothing")
	}
	return nil
}

// ClusterResult says what a clustering did.
type ClusterResult struct {
	Instant           string // "" when there was nothing to do
	Replaced, Written int    // file groups
}

// Cluster writes the rows of small file groups into larger ones, or those of all file
// groups in the order of some columns, and replaces the old groups in one commit. Rows
// keep the instants at which they were written: nothing changed, for whoever reads
// incrementally. In tables of hash buckets each bucket stays a file group of its own, and
// only its order changes.
//
// What a crash leaves of it is rolled back. With other writers, one of two that touch the
// same file group gets a [ConflictError].
func (t *Table) Cluster(ctx context.Context, opts ClusterOptions) (ClusterResult, error) {
	if err := opts.Validate(); err != nil {
		return ClusterResult{}, fmt.Errorf("cluster %s: %w", t.name, err)
	}
	opts.SmallFileBytes = cmp.Or(opts.SmallFileBytes, 100<<20)
	opts.TargetFileBytes = cmp.Or(opts.TargetFileBytes, t.opts.MaxFileBytes)
	opts.SortBytes = cmp.Or(opts.SortBytes, 128<<20)
	if err := t.lock(ctx); err != nil {
		return ClusterResult{}, err
	}
	c := &clustering{opts: opts, until: within(opts.MaxTime)}
	x, err := c.begin(ctx, t)
	if x == nil {
		t.unlock()
	}
	if err == nil && x != nil {
		if err = c.write(ctx, x); err == nil {
			_, err = x.Commit(ctx, nil)
		}
		if err != nil {
			err = x.undo(ctx, err)
		}
	}
	if err != nil {
		return ClusterResult{}, fmt.Errorf("cluster %s: %w", t.name, err)
	}
	if x == nil {
		return ClusterResult{}, nil
	}
	t.opts.Logger.Info("clustered", "table", t.name, "instant", x.time, "replaced", len(c.slices()), "written", c.written)
	return ClusterResult{x.time, len(c.slices()), c.written}, nil
}

// LastClustering is the newest commit that clustered or converted the table, "" if its
// timeline has none.
func (t *Table) LastClustering(ctx context.Context) (string, error) {
	found, err := t.lastClusterOf(ctx, t.Timeline())
	return found.at, err
}

// lastCluster is the newest clustering of a timeline, and its newest replacement of
// whatever kind: while that is the same, so is the clustering.
type lastCluster struct{ at, replaced string }

func (t *Table) lastClusterOf(ctx context.Context, tl *timeline.Timeline) (found lastCluster, err error) {
	for _, i := range slices.Backward(tl.Completed()) {
		if i.Action != timeline.ReplaceCommit {
			continue
		}
		found.replaced = cmp.Or(found.replaced, i.Time)
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return found, fmt.Errorf("look for the last clustering of %s: %w", t.name, err)
		}
		if m.OperationType == string(opCluster) {
			found.at = i.Time
			break
		}
	}
	return found, nil
}

// clusterable tells whether there are enough commits for a clustering, as far as is known
// of the last one.
func (t *Table) clusterable(opts ClusterOptions) bool {
	n, replaced := 0, ""
	for _, i := range slices.Backward(t.timeline.Completed()) {
		if i.Action == timeline.ReplaceCommit {
			replaced = cmp.Or(replaced, i.Time)
		}
		if i.Action == timeline.Compaction || i.Time <= t.laid.at {
			continue
		}
		n++
	}
	return n >= opts.MinCommits || replaced != t.laid.replaced
}

// clustering is one run. Each of its packs is slices whose rows are laid out together.
type clustering struct {
	opts    ClusterOptions
	until   timeBound
	packs   [][]*FileSlice
	written int
}

func (c *clustering) slices() []*FileSlice { return slices.Concat(c.packs...) }

// begin plans and begins the transaction, nil where there is nothing to do.
func (c *clustering) begin(ctx context.Context, t *Table) (*Txn, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	for _, name := range c.opts.SortBy {
		f, ok := t.full.FieldsByName(name)
		if !ok {
			return nil, badOption("sort by %s: the table does not have such a column", name)
		}
		if !sortable(f[0].Type) {
			return nil, badOption("sort by %s: rows are not sorted by %s", name, f[0].Type)
		}
	}
	if len(c.opts.SortBy) == 0 && t.hashed() {
		return nil, badOption("a table of hash buckets has no small files to join: name columns to sort by, or convert it to fewer buckets")
	}
	if c.opts.MinCommits > 0 {
		if last, err := t.lastClusterOf(ctx, t.timeline); err != nil {
			return nil, err
		} else if t.laid = last; !t.clusterable(c.opts) {
			return nil, nil //nolint:nilnil // nothing to do
		}
	}
	if c.plan(t); len(c.packs) == 0 {
		return nil, nil //nolint:nilnil // nothing to do
	}
	return t.beginReplace(ctx, t.newReplacement(c.packs))
}

// plan packs slices.
func (c *clustering) plan(t *Table) {
	byPartition := map[string][]*FileSlice{}
	newest := map[string]string{}
	for _, s := range t.view.slices(t.timeline, "", c.opts.Partitions) {
		if s.Base == nil || len(c.opts.SortBy) == 0 && sliceBytes(s) >= c.opts.SmallFileBytes {
			continue
		}
		byPartition[s.Partition] = append(byPartition[s.Partition], s)
		newest[s.Partition] = max(newest[s.Partition], s.Instant)
	}
	partitions := make([]string, 0, len(byPartition))
	for p := range byPartition {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, func(a, b string) int { return cmp.Or(cmp.Compare(newest[b], newest[a]), cmp.Compare(a, b)) })
	left := c.opts.MaxBytes
	for _, p := range partitions {
		for _, pack := range c.pack(byPartition[p], t.hashed()) {
			size := int64(0)
			for _, s := range pack {
				size += sliceBytes(s)
			}
			if c.opts.MaxBytes > 0 {
				if left -= size; left < 0 && len(c.packs) > 0 {
					return
				}
			}
			c.packs = append(c.packs, pack)
		}
	}
}

// pack divides the slices of a partition: where rows are sorted all together, small
// files as many as make a large one, and buckets each alone.
func (c *clustering) pack(found []*FileSlice, alone bool) [][]*FileSlice {
	var packs [][]*FileSlice
	switch {
	case alone:
		for _, s := range found {
			packs = append(packs, []*FileSlice{s})
		}
		return packs
	case len(c.opts.SortBy) > 0:
		return [][]*FileSlice{found}
	}
	slices.SortStableFunc(found, func(a, b *FileSlice) int { return cmp.Compare(sliceBytes(a), sliceBytes(b)) })
	var pack []*FileSlice
	size := int64(0)
	for _, s := range found {
		if size+sliceBytes(s) > c.opts.TargetFileBytes && len(pack) > 0 {
			packs, pack, size = append(packs, pack), nil, 0
		}
		pack, size = append(pack, s), size+sliceBytes(s)
	}
	packs = append(packs, pack)
	return slices.DeleteFunc(packs, func(p []*FileSlice) bool { return len(p) < 2 })
}

func sliceBytes(s *FileSlice) int64 {
	size := int64(0)
	for _, f := range s.files() {
		size += f.Size
	}
	return size
}

// write lays the packs out, as far as it comes.
func (c *clustering) write(ctx context.Context, x *Txn) error {
	for n, pack := range c.packs {
		if n > 0 && c.until.passed() {
			c.packs = c.packs[:n]
			x.replace.slices = c.slices()
			return nil
		}
		if err := c.writePack(ctx, x, pack); err != nil {
			return err
		}
	}
	return nil
}

func (c *clustering) writePack(ctx context.Context, x *Txn, pack []*FileSlice) error {
	out := &clusterOut{clustering: c, txn: x, partition: pack[0].Partition, like: pack[0].FileID}
	if len(c.opts.SortBy) == 0 {
		return errors.Join(x.eachRow(ctx, pack, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) }), out.end(ctx))
	}
	sorter := newRowSorter(x.full, byColumns(c.opts.SortBy...), c.opts.SortBytes, c.opts.TempDir)
	defer sorter.close()
	err := x.eachRow(ctx, pack, func(rows arrow.RecordBatch) error { return sorter.add(ctx, rows) })
	if err == nil {
		err = sorter.each(ctx, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) })
	}
	return errors.Join(err, out.end(ctx))
}

// clusterOut is the new file groups of a pack, one after the other.
type clusterOut struct {
	*clustering

	txn       *Txn
	partition string
	like      string // a file id of the pack
	group     *GroupWriter
}

func (o *clusterOut) add(ctx context.Context, rows arrow.RecordBatch) (err error) {
	if o.group == nil {
		if o.group, err = o.open(ctx); err != nil {
			return err
		}
		o.written++
	}
	if err := o.group.take(ctx, rows); err != nil {
		return err
	}
	if !o.txn.table.hashed() && o.group.fileBytes() >= o.opts.TargetFileBytes {
		return o.end(ctx)
	}
	return nil
}

func (o *clusterOut) open(ctx context.Context) (*GroupWriter, error) {
	if !o.txn.table.hashed() {
		return o.txn.newGroup(o.partition)
	}
	bucket, err := o.txn.table.bucketOf(o.like)
	if err != nil {
		return nil, err
	}
	return o.txn.Group(ctx, o.partition, bucket)
}

func (o *clusterOut) end(ctx context.Context) error {
	if o.group == nil {
		return nil
	}
	g := o.group
	o.group = nil
	return g.Close(ctx)
}
