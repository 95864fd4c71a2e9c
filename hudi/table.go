package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// Table is a Hudi table, as it was when it was opened, refreshed or last written by
// this Table. Its methods may be called from several goroutines; what writes waits
// for its turn.
type Table struct {
	store storage.Store
	opts  Options
	turn  chan struct{} // holds one token; who writes takes it
	names []string      // of the timeline's files, in order, as far as known; who has the turn uses it
	stale bool          // files of the timeline were deleted: the table is loaded anew; who has the turn uses it
	lease lock.Lease    // of the table's lock, while it is held; who has the turn uses it
	claim *claim        // by which writers decide
	given string        // the instant that this Table gave up last; who has the turn uses it
	told  bool          // the options say the number of buckets and no commit does, which is not proved yet; who has the turn uses it
	tried int           // how many writes the timeline has when a service archives again; who has the turn uses it
	laid  lastCluster   // who has the turn uses it
	// listed says that engines list the table's folders, and nothing is left of a metadata
	// table, since hoodie.properties are of the version that was read last: who adds or removes
	// one changes them. Who has the turn uses both.
	listed    bool
	propsRead storage.Version

	name       string
	typ        TableType
	timelineAt string // the folder of the timeline's files
	key        []string
	order      string
	merge      mergeRule // how records of one key are merged; in our own tables the later one counts
	keys       keyMaker
	// partition is how rows are laid into folders. It does not change.
	partition partitioning

	requests *storage.Requests // that this Table made
	written  *written          // what commits say of the files, as far as it was asked for

	baseFormat atomic.Pointer[baseFormat] // nil till a base file is begun

	mu       sync.RWMutex // guards what follows; only who has the turn changes it
	props    Properties
	timeline *timeline.Timeline // does not change, but is exchanged
	view     *view
	schema   *arrow.Schema // data columns
	full     *arrow.Schema // with the meta columns
	avro     string        // the data columns
	latest   string        // the internal schema, where columns were renamed, dropped or moved
	buckets  int
	// indexType says how keys are found; "": that is not known.
	indexType IndexType
}

// Create makes a table of version 6 in the folder that store is rooted at. The
// folder may hold nothing else. The table that it returns has no commits yet.
func Create(ctx context.Context, store storage.Store, opts CreateOptions) (*Table, error) {
	opts.setDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("create table: %w", err)
	}
	if err := create(ctx, store, opts); err != nil {
		return nil, fmt.Errorf("create table %s at %s: %w", opts.Name, store, err)
	}
	return Open(ctx, store, opts.Options)
}

func create(ctx context.Context, store storage.Store, opts CreateOptions) error {
	avro, err := schema.FromArrow(opts.Name, opts.Schema)
	if err != nil {
		return err
	}
	if err := checkEmpty(ctx, store); err != nil {
		return err
	}
	if len(opts.PartitionBy) == 0 {
		// Spark finds the rows of a folder only where this file stands in it.
		if err := store.Put(ctx, partitionFile, partitionMark(opts.Options, "", 0)); err != nil {
			return fmt.Errorf("write %s: %w", partitionFile, err)
		}
	}
	props := newProperties(opts, avro)
	err = store.PutIfAbsent(ctx, propertiesFile, props.Format(opts.Now()))
	if errors.Is(err, storage.ErrExist) {
		return ErrTableExists
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", propertiesFile, err)
	}
	return nil
}

// checkEmpty refuses a folder that holds a table or anything else. What a Create that
// crashed left is no obstacle.
func checkEmpty(ctx context.Context, store storage.Store) error {
	if found, err := exists(ctx, store, propertiesFile); err != nil || found {
		return cmp.Or(err, ErrTableExists)
	}
	for info, err := range store.List(ctx, "", true) {
		if err != nil {
			return fmt.Errorf("list folder: %w", err)
		}
		if info.Name != partitionFile {
			return fmt.Errorf("the folder holds other files, as %s: give the table a folder of its own", info.Name)
		}
	}
	return nil
}

func newProperties(opts CreateOptions, avro string) Properties {
	p := Properties{
		propName:           opts.Name,
		propType:           string(opts.Type),
		propVersion:        "6",
		propLayout:         "1",
		propRecordKey:      strings.Join(opts.RecordKey, ","),
		propPartition:      strings.Join(opts.PartitionBy, ","),
		propPrecombine:     opts.OrderingField,
		propKeyGenerator:   keyGenerator(opts.RecordKey, opts.PartitionBy),
		propHiveStyle:      strconv.FormatBool(opts.HiveStyle),
		propURLEncode:      strconv.FormatBool(opts.URLEncode),
		propDropPartition:  "false",
		propMetaFields:     "true",
		propBaseFormat:     "PARQUET",
		propPayload:        payloadOverwrite,
		propArchive:        "archived",
		propTimezone:       "UTC",
		propCDC:            "false",
		propMetafileFormat: "false",
		propCreateSchema:   avro,
	}
	maps.Copy(p, sparkOptions(opts))
	if opts.Database != "" {
		p[propDatabase] = opts.Database
	}
	p[propChecksum] = p.Checksum()
	return p
}

// sparkOptions are write options that Spark takes from hoodie.properties where its
// user sets none: they keep the table's version, leave out the metadata table, find
// our buckets and let no commit be archived, which would take its extra metadata out
// of sight (docs/spark-writers.md). Readers ignore them.
func sparkOptions(opts CreateOptions) Properties {
	key := strings.Join(opts.RecordKey, ",")
	p := Properties{
		propIndex: string(opts.Index),
		"hoodie.datasource.write.recordkey.field": key,
		"hoodie.metadata.enable":                  "false",
		"hoodie.archive.automatic":                "false",
		"hoodie.write.auto.upgrade":               "false",
		"hoodie.write.table.version":              "6",
	}
	if opts.Index == IndexGlobalKey {
		p[propIndex], p[propOwnIndex] = string(IndexBucket), string(IndexGlobalKey)
	}
	if p[propIndex] == string(IndexBucket) {
		p[BucketsKey] = strconv.Itoa(opts.Buckets)
		p["hoodie.bucket.index.hash.field"] = key
	}
	if len(opts.PartitionBy) > 0 {
		p["hoodie.datasource.write.partitionpath.field"] = strings.Join(opts.PartitionBy, ",")
	}
	if len(opts.PartitionBy) > 1 && len(opts.RecordKey) == 1 {
		// The releases of Hudi do not agree on the keys of such tables: 1, as here, or id:1.
		// Those that could write either ask for these.
		p[propKeyEncoding], p["hoodie.write.complex.keygen.validation.enable"] = "true", "false"
	}
	return p
}

// Open reads a table that exists. It refuses tables whose rows it could not tell
// right; what it can read but not write, as a table of version 9, each transaction
// refuses. Both say so by an [UnsupportedError].
func Open(ctx context.Context, store storage.Store, opts Options) (*Table, error) {
	if err := errors.Join(opts.Concurrency.Validate(), opts.Services.Validate(), opts.MetadataTable.Validate()); err != nil {
		return nil, fmt.Errorf("open %s: %w", store, err)
	}
	opts.setDefaults()
	if err := checkIndex(opts.Index); err != nil {
		return nil, fmt.Errorf("open %s: %w", store, err)
	}
	if c := &opts.Concurrency; c.optimistic() && c.Locker == nil {
		c.Locker = lock.NewProcess(store.String())
	}
	t := &Table{opts: opts, turn: make(chan struct{}, 1), written: newWritten(), requests: new(storage.Requests), claim: newClaim()}
	t.store = storage.Counted(store, t.requests)
	props, err := t.readProperties(ctx)
	if errors.Is(err, ErrNoTable) {
		return nil, fmt.Errorf("open %s: %w", store, ErrNoTable)
	}
	if err == nil {
		t.timelineAt = props.timelineFolder()
		t.name, t.typ = props[propName], TableType(props[propType])
		t.key, t.order = props.list(propRecordKey), props.ordering()
		t.partition = props.partitioning()
		t.keys = newKeyMaker(props)
		if t.merge, err = props.mergeRule(); err == nil {
			err = t.loadNew(ctx, props)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", store, err)
	}
	return t, nil
}

// readProperties reads hoodie.properties and refuses what cannot be read here.
func (t *Table) readProperties(ctx context.Context) (Properties, error) {
	p, _, err := t.readPropertiesAt(ctx)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Name is the table's name.
func (t *Table) Name() string { return t.name }

// Type is the table's type.
func (t *Table) Type() TableType {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.typ
}

// RecordKey names the columns that make a row's key.
func (t *Table) RecordKey() []string { return slices.Clone(t.key) }

// Schema is that of the data columns, without the meta columns.
func (t *Table) Schema() *arrow.Schema {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.schema
}

// AvroSchema is Schema as Hudi keeps it in the commits.
func (t *Table) AvroSchema() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.avro
}

// Buckets is the number of hash buckets, 0 when neither the options nor the commits
// say it: such a table is read only.
func (t *Table) Buckets() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.buckets
}

// Bucket is the bucket of a record key: see [BucketOf].
func (t *Table) Bucket(key string) int { return BucketOf(key, t.key, max(t.Buckets(), 1)) }

// Slices are the file slices that make the table now, in the order of their
// partitions and file ids.
func (t *Table) Slices() []*FileSlice {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.view.slices(t.timeline, "", nil)
}

// Properties is a copy of hoodie.properties.
func (t *Table) Properties() Properties {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.props)
}

// Requests is what this Table has asked of the store's server, reads too; nothing where
// the store has none.
func (t *Table) Requests() *storage.Requests { return t.requests }

// Timeline is the table's timeline. It does not change; a later call may return a
// later one.
func (t *Table) Timeline() *timeline.Timeline {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.timeline
}
