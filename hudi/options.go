package hudi

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// TableType says how changes are stored.
type TableType string

const (
	// CopyOnWrite tables hold base files only: a change rewrites the base file of its
	// file group.
	CopyOnWrite TableType = "COPY_ON_WRITE"
	// MergeOnRead tables append changes to log files, which readers merge and
	// compaction folds into new base files.
	MergeOnRead TableType = "MERGE_ON_READ"
)

// Operation says what a transaction does. It is recorded in the commit.
type Operation string

// The operations that a transaction may be.
const (
	Upsert     Operation = "UPSERT"
	Insert     Operation = "INSERT"
	BulkInsert Operation = "BULK_INSERT"
	Delete     Operation = "DELETE"
	// InsertOverwriteTable replaces all rows that the table had by those that the
	// transaction writes.
	InsertOverwriteTable Operation = "INSERT_OVERWRITE_TABLE"
	// InsertOverwrite replaces all rows of the partitions that it writes to.
	InsertOverwrite Operation = "INSERT_OVERWRITE"
	// DeletePartition takes whole partitions away.
	DeletePartition Operation = "DELETE_PARTITION"
)

// replaces tells whether the operation replaces file groups.
func (o Operation) replaces() bool {
	return o == InsertOverwriteTable || o == InsertOverwrite || o == DeletePartition || o == opCluster
}

// Options are how a table is used. The zero value works.
type Options struct {
	// Logger hears of recovery, compaction and cleaning; nil: silence.
	Logger *slog.Logger
	// Hook is called before each step that touches the store, with its name:
	// "marker", "data file", "log append", "publish", "rollback", "compaction",
	// "clean". Tests that crash there set it. Groups that are written at the same time
	// call it at the same time.
	Hook func(phase string)
	// Buckets is the number of hash buckets; 0: as recorded in the table's commits.
	// A number that contradicts them is refused.
	Buckets int
	// Index says how a writer finds the file groups of record keys; "": as the table was
	// made. Tables of other writers that do not say it need to be told.
	Index IndexType
	// Keys is where [IndexGlobalKey] keeps what it knows. One writer has it at a time.
	Keys KeyStore
	// MaxFileBytes is about how large a base file grows, where rows are not hashed to
	// buckets; 0: 120 MiB, as Hudi's hoodie.parquet.max.file.size.
	MaxFileBytes int64
	// SmallFileBytes is the size below which a base file takes new rows, by being
	// rewritten; 0: 100 MiB on copy-on-write tables, as Hudi's
	// hoodie.parquet.small.file.limit, and 16 MiB on merge-on-read tables, whose changes
	// should be cheap; below 0: none does.
	SmallFileBytes int64
	// RowGroupBytes is how much a writer gathers, in Arrow's memory, before it
	// writes a Parquet row group; 0: 16 MiB. Each open group of a transaction may
	// hold that much.
	RowGroupBytes int64
	// BlockBytes is the size at which a log block is written; 0: 4 MiB.
	BlockBytes int
	// Now is the clock that instants are taken from; nil: time.Now. Instants grow
	// even where the clock steps back.
	Now func() time.Time
	// Concurrency says who else writes to the table; the zero value: nobody.
	Concurrency Concurrency
	// Services keep the table in shape: each commit of rows runs those that are due, right
	// behind it. Nil: [DefaultServices]; one that names none: nothing runs but what is
	// called.
	Services *ServicesOptions
	// MetadataTable says what becomes of the metadata table that a table has which is to be
	// changed, as Spark makes one by default; "": [RemoveMetadataTable].
	MetadataTable MetadataTablePolicy
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Hook == nil {
		o.Hook = func(string) {}
	}
	if o.RowGroupBytes == 0 {
		o.RowGroupBytes = 16 << 20
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = 4 << 20
	}
	if o.MaxFileBytes == 0 {
		o.MaxFileBytes = 120 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Concurrency.setDefaults()
	if o.Services == nil {
		def := DefaultServices()
		o.Services = &def
	}
}

// CreateOptions describe a table to make.
type CreateOptions struct {
	// Name of the table. Required.
	Name string
	// Database that Spark SQL knows the table under; may be empty.
	Database string
	// Type of the table; default MergeOnRead.
	Type TableType
	// Schema of the data columns, without Hudi's meta columns. Required.
	Schema *arrow.Schema
	// RecordKey names the columns that make a row's key. Required.
	RecordKey []string
	// OrderingField is a column that grows with each change of a row. Of two
	// changes the one written later counts, whatever it says; engines need it all
	// the same. Required.
	OrderingField string
	// PartitionBy names the columns by whose values rows are laid into folders, one
	// below the other; none: all rows stand in the table's folder.
	PartitionBy []string
	// HiveStyle names the folders column=value, not by the value alone.
	HiveStyle bool
	// URLEncode writes what may not stand in a folder's name as %XX. Without it a
	// value with a slash in it is refused when rows are written.
	URLEncode bool
	// Options are those of [Open]. Index is here [IndexBucket] by default. Buckets, with
	// it 1 by default, stays for the table's life. Until the first commit records it,
	// Open must be told it again.
	Options
}

func (o *CreateOptions) setDefaults() {
	o.Options.setDefaults()
	if o.Type == "" {
		o.Type = MergeOnRead
	}
	if o.Index == "" {
		o.Index = IndexBucket
	}
	if o.Buckets == 0 && (o.Index == IndexBucket || o.Index == IndexGlobalKey) {
		o.Buckets = 1
	}
}

// Validate tells what is wrong with the options, naming the field.
func (o *CreateOptions) Validate() error {
	if err := checkIndex(o.Index); err != nil {
		return err
	}
	switch {
	case o.Name == "" || strings.ContainsAny(o.Name, "/\n\r"):
		return badOption("name %q: must not be empty nor hold slashes or line breaks", o.Name)
	case o.Type != "" && o.Type != CopyOnWrite && o.Type != MergeOnRead:
		return badOption("type %q: want %s or %s", o.Type, CopyOnWrite, MergeOnRead)
	case o.Schema == nil || o.Schema.NumFields() == 0:
		return badOption("schema: missing")
	case len(o.RecordKey) == 0:
		return badOption("record key: missing")
	case o.OrderingField == "":
		return badOption("ordering field: missing")
	case o.Index == IndexGlobalKey && (o.Keys == nil || len(o.PartitionBy) == 0):
		return badOption("index %s: it needs Keys and PartitionBy", o.Index)
	case o.Buckets > 0 && o.Index != "" && o.Index != IndexBucket && o.Index != IndexGlobalKey:
		return badOption("buckets %d: there are none with index %s", o.Buckets, o.Index)
	case o.Buckets < 0 || o.Buckets > maxBuckets:
		return badOption("buckets %d: want 1 to %d", o.Buckets, maxBuckets)
	}
	for _, k := range slices.Concat([]string{o.OrderingField}, o.RecordKey, o.PartitionBy) {
		if len(o.Schema.FieldIndices(k)) != 1 {
			return badOption("column %q: the schema does not have it", k)
		}
	}
	for what, names := range map[string][]string{"record key": o.RecordKey, "partition": o.PartitionBy} {
		if sorted := slices.Sorted(slices.Values(names)); len(slices.Compact(sorted)) < len(names) {
			return badOption("%s %s: a column is there twice", what, strings.Join(names, ","))
		}
	}
	if _, err := newOrdering([]string{o.OrderingField}, o.Schema); err != nil {
		return err
	}
	if err := o.Concurrency.Validate(); err != nil {
		return err
	}
	if err := errors.Join(o.Services.Validate(), o.MetadataTable.Validate()); err != nil {
		return err
	}
	return checkSchema(o.Schema)
}

// Sizes below which base files take new rows.
const (
	defaultSmallFile       = 100 << 20
	defaultSmallFileLogged = 16 << 20 // on tables that have log files
)

// maxBuckets is what eight digits of a file id can tell apart.
const maxBuckets = 99_999_999
