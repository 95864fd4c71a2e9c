package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// foreign is a table of another job, and how its rows land in what is made of it.
type foreign struct {
	table      *hudi.Table
	from       *checkpoint   // of the pipeline that kept it; nil: some other job did
	shown      *change.Table // the source's, as it lands
	partitions []partitionColumn
	schema     *arrow.Schema // that its rows take on
	columns    []foreignColumn
	retyped    []string // columns that become another type, for people
	unread     []string // why rows of the table do not do, for people
}

// foreignColumn is where a field of the schema comes from.
type foreignColumn struct {
	from string // the table's column; "": it has none
	read func(arrow.Array) (arrow.Array, error)
	text bool // of the source's, and may hold Debezium's placeholder
}

// newForeign looks at a table of another job. What cannot be taken over at all is an error; what only a copy
// of all rows helps, or a person has to agree to, the result says.
func newForeign(table *hudi.Table, from *checkpoint, shown *change.Table, by []PartitionField, lean bool) (*foreign, error) {
	f := &foreign{table: table, from: from, shown: shown}
	if err := f.fits(by); err != nil {
		return nil, err
	}
	names := columnNames(shown)
	var fields []arrow.Field
	for _, had := range table.Schema().Fields() {
		if strings.HasPrefix(strings.ToLower(had.Name), "_hoodie_") {
			continue // Hudi's own, which tells rows from deletes, and takes no part in these
		}
		col := foreignColumn{from: had.Name}
		if i := slices.Index(names, had.Name); i >= 0 {
			had, col = f.sourceColumn(shown.Columns[i], had)
		} else if at := slices.IndexFunc(extraColumns, func(e arrow.Field) bool { return e.Name == had.Name }); at >= 0 && !arrow.TypeEqual(had.Type, extraColumns[at].Type) {
			return nil, fmt.Errorf("its column %s is %s, and Debezium's source for Hudi has it as %s: let Spark write the rows with that type", had.Name, had.Type, extraColumns[at].Type)
		}
		had.Nullable = !slices.Contains(table.RecordKey(), had.Name) || had.Nullable
		fields, f.columns = append(fields, had), append(f.columns, col)
	}
	for _, e := range extraColumns {
		if !table.Schema().HasField(e.Name) && (!lean || e.Name == colLSN) {
			e.Nullable = true
			fields, f.columns = append(fields, e), append(f.columns, foreignColumn{})
		}
	}
	for i, c := range shown.Columns {
		if !table.Schema().HasField(names[i]) {
			f.unread = append(f.unread, fmt.Sprintf("column %s is not in it", c.Name))
			fields, f.columns = append(fields, arrow.Field{Name: names[i], Type: c.Arrow, Nullable: true}), append(f.columns, foreignColumn{})
		}
	}
	for _, k := range f.left(names) {
		f.unread = append(f.unread, fmt.Sprintf("column %s is in it, and not in the source", k))
	}
	f.schema = arrow.NewSchema(fields, nil)
	return f, nil
}

// sourceColumn is how a column of the source lands that the table has.
func (f *foreign) sourceColumn(c change.Column, had arrow.Field) (arrow.Field, foreignColumn) {
	col := foreignColumn{from: had.Name, text: f.from == nil && (had.Type.ID() == arrow.STRING || had.Type.ID() == arrow.BINARY)}
	var err error
	if same := arrow.TypeEqual(had.Type, c.Arrow); f.from != nil {
		if !same {
			f.unread = append(f.unread, fmt.Sprintf("column %s is %s in it, and %s in the source", c.Name, had.Type, c.Type))
		}
	} else if col.read, err = readDebezium(c, had.Type); err != nil {
		f.unread = append(f.unread, fmt.Sprintf("column %s: %v", c.Name, err))
	}
	if !arrow.TypeEqual(had.Type, c.Arrow) {
		f.retyped = append(f.retyped, fmt.Sprintf("%s (%s) from %s to %s", c.Name, c.Type, had.Type, c.Arrow))
		had.Type = c.Arrow
	}
	return had, col
}

// fits refuses a table whose rows are identified or laid out in another way.
func (f *foreign) fits(by []PartitionField) (err error) {
	if f.shown.KeyKind == change.NoKey {
		return fmt.Errorf("%s has no key (%s): its rows cannot be told apart, and it cannot be taken over; let it be copied into a folder of its own", f.shown, f.shown.Note)
	}
	if err := f.table.CheckTakeOver(hudi.TakeOver{OrderingField: colLSN}); err != nil {
		return err
	}
	if key := recordKey(f.shown); !slices.Equal(key, f.table.RecordKey()) {
		return fmt.Errorf("its record key is %s, and the key of %s is %s: one row of the one may be several of the other; let it be copied into a folder of its own", strings.Join(f.table.RecordKey(), ","), f.shown, strings.Join(key, ","))
	}
	if f.from != nil {
		if err := samePartitions(f.from.Table, f.from.Partitions, by); err != nil {
			return err
		}
	}
	if f.partitions, err = newPartitions(f.shown, by); err != nil {
		return err
	}
	if want := lakeColumns(f.partitions); !slices.Equal(want, f.table.PartitionBy()) {
		return noPartition("the table has partitions by %q, and the configuration wants %q: a table that is taken over keeps its partitions, so let partition_by name these columns, or let it be copied into a folder of its own", strings.Join(f.table.PartitionBy(), ","), strings.Join(want, ","))
	}
	return nil
}

// The keys of extra metadata under which HoodieStreamer keeps its checkpoint, the newer first.
var streamerKeys = []string{"streamer.checkpoint.key.v2", "deltastreamer.checkpoint.key"}

// streamerCheckpoint is HoodieStreamer's newest checkpoint of a table, "" where there is none.
func streamerCheckpoint(ctx context.Context, table *hudi.Table) (string, error) {
	for _, key := range streamerKeys {
		if v, _, err := table.LastExtra(ctx, key); err != nil || v != "" {
			return v, err
		}
	}
	return "", nil
}

// onePartition reports whether a checkpoint of HoodieStreamer's, "topic,0:42,1:17", is of one partition of one topic.
func onePartition(checkpoint string) bool {
	topic, rest, ok := strings.Cut(checkpoint, ",")
	return ok && topic != "" && rest != "" && !strings.Contains(rest, ",")
}

// newestEvent is the greatest position of a change that the table has a row of; 0: it has none. Rows of a snapshot of
// Debezium's do not tell which others are there.
func newestEvent(ctx context.Context, table *hudi.Table) (newest change.LSN, err error) {
	if !table.Schema().HasField(colLSN) || !table.Schema().HasField(colOp) {
		return 0, nil
	}
	for rec, err := range table.Read(ctx, hudi.ReadOptions{Columns: []string{colLSN, colOp}}) {
		if err != nil {
			return 0, err
		}
		lsns, ok := rec.Column(0).(*array.Int64)
		ops, ok2 := rec.Column(1).(*array.String)
		if !ok || !ok2 {
			return 0, nil
		}
		for row := range lsns.Len() {
			if lsns.IsValid(row) && ops.IsValid(row) && (ops.Value(row) == "c" || ops.Value(row) == "u") {
				newest = max(newest, change.LSN(lsns.Value(row)))
			}
		}
	}
	return newest, nil
}

// reached is an *awaitsError where it is not certain that the table has all that commits before a position.
func (p *Pipeline) reached(ctx context.Context, table *hudi.Table, since change.LSN, a Adoption) error {
	end, err := p.opts.Source.Emit(ctx, "take over")
	if errors.Is(err, change.ErrReadOnly) {
		end, err = math.MaxUint64, nil
	}
	if err != nil {
		return &sourceError{err}
	}
	if a.Until > end {
		return &awaitsError{what: fmt.Sprintf("`--lsn` says %s, and the source's log ends at %s: up to where has the other job read? `select pg_current_wal_lsn()`, once it has nothing left to read", a.Until, end)}
	}
	if a.Until != 0 {
		if a.Until < since {
			return &awaitsError{what: fmt.Sprintf("it holds what commits before %s, as somebody says, and its changes are kept from %s on: let the other job go on until it has passed that, or `lakefeed adopt --stopped --copy` reads its rows from the source", a.Until, since)}
		}
		return nil
	}
	checkpoint, err := streamerCheckpoint(ctx, table)
	if err != nil {
		return err
	}
	if !onePartition(checkpoint) {
		return &awaitsError{what: fmt.Sprintf("whether it holds all that commits before %s its rows do not tell: its commits have %s; when the other job has nothing left to read, `--lsn` says up to where it has read", since, checkpointText(checkpoint))}
	}
	newest, err := newestEvent(ctx, table)
	if err == nil && newest > end {
		return &awaitsError{what: fmt.Sprintf("its newest row is of %s, and the source's log ends at %s: rows of it are of another server; `--lsn` says up to where the other job has read, or `lakefeed adopt --stopped --copy` reads its rows from the source", newest, end)}
	}
	if err == nil && newest < since {
		err = &awaitsError{what: fmt.Sprintf("the other job has to pass %s, from where on its changes are kept, and its newest row is of %s: let it go on, or, where it has nothing left to read, `--lsn` says up to where it has read", since, newest)}
	}
	return err
}

func checkpointText(checkpoint string) string {
	if checkpoint == "" {
		return "no checkpoint of HoodieStreamer's"
	}
	return "the checkpoint " + checkpoint + ", which is not of one partition of a topic"
}

// check is the error of a table whose rows do not do; retype says that columns may change their types.
func (f *foreign) check(a Adoption) error {
	if a.Copy {
		f.unread = nil
	}
	switch {
	case len(f.unread) > 0:
		return fmt.Errorf("its rows cannot be taken over: %s; %s reads all rows from the source instead", strings.Join(f.unread, "; "), f.copyBy())
	case len(f.retyped) > 0 && !a.Retype:
		return fmt.Errorf("columns would become another type for its readers: %s; `--retype` lets them", strings.Join(f.retyped, "; "))
	}
	return nil
}

// Foreign is what is found of a table of another job that could be taken over.
type Foreign struct {
	Folder     string     `json:"folder"`
	Type       string     `json:"type"`
	Index      string     `json:"index,omitempty"`
	Key        []string   `json:"key"`
	Partitions []string   `json:"partitions,omitempty"`
	Merging    string     `json:"merging"`              // which of several records of a key counts
	Checkpoint string     `json:"checkpoint,omitempty"` // HoodieStreamer's
	Newest     change.LSN `json:"newest_lsn,omitzero"`  // of a change that it has a row of
	Retyped    []string   `json:"retyped,omitempty"`    // columns that become another type
	Unread     []string   `json:"unread,omitempty"`     // why all rows have to be read from the source
	Table      string     `json:"table,omitempty"`      // its name in the pipeline that keeps it
	Holds      change.LSN `json:"holds,omitzero"`       // up to where that one has written it
}

// InspectForeign looks at the table of another job that lies where a table of the source is to land, without
// changing anything. What cannot be taken over is an error that says why, and the way out.
// With from it is one that another pipeline keeps.
func InspectForeign(ctx context.Context, lake storage.Store, pipeline, from string, look *change.Look, name string, options func(*change.Table) TableOptions) (*Foreign, error) {
	i := slices.IndexFunc(look.Tables, func(v *change.Table) bool { return v.String() == name })
	if i < 0 {
		return nil, &TableError{name, errors.New("the source has no such table that the configuration takes")}
	}
	folders, err := ReadFolders(ctx, lake, pipeline)
	if err != nil {
		return nil, err
	}
	path := tablePaths(look.Tables, options, folders)[i]
	table, err := hudi.Open(ctx, storage.Sub(lake, path), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return nil, fmt.Errorf("folder %s of the lake holds none, and `path` of the table's entry in the configuration says where it lies: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	at, err := anyCheckpoint(ctx, table)
	if err == nil {
		err = at.keptBy(from, pipeline, name, path)
	}
	if err != nil {
		return nil, err
	}
	f, err := newForeign(table, at, look.Tables[i], options(look.Tables[i]).PartitionBy, false)
	if err != nil {
		return nil, &TableError{name, fmt.Errorf("what lies in folder %s cannot be taken over: %w", path, err)}
	}
	out := &Foreign{
		Folder: path, Type: string(table.Type()), Index: string(table.Index()), Key: table.RecordKey(), Partitions: table.PartitionBy(),
		Merging: table.Merging(), Retyped: f.retyped, Unread: f.unread,
	}
	if at != nil {
		out.Table, out.Holds = at.Table, at.LSN
		return out, nil
	}
	if out.Checkpoint, err = streamerCheckpoint(ctx, table); err != nil {
		return nil, err
	}
	out.Newest, err = newestEvent(ctx, table)
	return out, err
}
