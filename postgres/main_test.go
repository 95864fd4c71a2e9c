package postgres_test

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// feed is a connector and what it has delivered, for tests.
type feed struct {
	*postgres.Connector
	t      *testing.T
	db     *pgtest.Database
	tables map[string]*change.Table // by name
	start  change.LSN
	marks  int
	last   *change.Chunk
}

// open connects under the database's name, so that slots do not meet.
func open(t *testing.T, db *pgtest.Database, opts postgres.Options) *feed {
	t.Helper()
	opts.URL, opts.Pipeline = db.URL, cmp.Or(opts.Pipeline, db.Name)
	if opts.Heartbeat == 0 {
		opts.Heartbeat = -1
	}
	c, err := postgres.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f := &feed{Connector: c, t: t, db: db}
	f.look()
	return f
}

// look asks for the tables again.
func (f *feed) look() {
	f.t.Helper()
	tables, err := f.Tables(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.tables = map[string]*change.Table{}
	for _, t := range tables {
		f.tables[t.Name] = t
	}
}

// begin publishes the tables, makes the slot and leaves its snapshot open.
func (f *feed) begin() *feed {
	f.t.Helper()
	f.prepare()
	var err error
	if f.start, err = f.CreateSlot(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return f
}

func (f *feed) prepare() {
	f.t.Helper()
	var tables []*change.Table
	for _, t := range f.tables {
		tables = append(tables, t)
	}
	if out, err := f.Prepare(f.t.Context(), tables, nil); err != nil || len(out.Failed) > 0 {
		f.t.Fatal(out, err)
	}
}

// stream closes the snapshot and starts the stream.
func (f *feed) stream() *feed {
	f.t.Helper()
	if err := f.CloseSnapshot(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	if err := f.Stream(f.t.Context(), f.start); err != nil {
		f.t.Fatal(err)
	}
	return f
}

// copied is every row of a table under the snapshot.
func (f *feed) copied(table string) []row {
	f.t.Helper()
	var out []row
	err := f.Copy(f.t.Context(), f.tables[table], func(b *change.Batch) error {
		out = append(out, explode(f.t, b)...)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// drain reads up to a message sent now and returns the rows of all tables, in
// the order of each table, and the failures.
func (f *feed) drain() (rows map[string][]row, failures []change.Failure) {
	f.t.Helper()
	f.marks++
	mark := fmt.Sprintf("mark %d", f.marks)
	if _, err := f.Emit(f.t.Context(), mark); err != nil {
		f.t.Fatal(err)
	}
	rows = map[string][]row{}
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		chunk, err := f.Next(f.t.Context(), 5*time.Second)
		if err != nil {
			f.t.Fatal(err)
		}
		f.last = chunk
		for _, b := range chunk.Batches {
			rows[b.Table.Name] = append(rows[b.Table.Name], explode(f.t, b)...)
		}
		failures = append(failures, chunk.Failures...)
		for _, m := range chunk.Messages {
			if string(m.Content) == mark {
				return rows, failures
			}
		}
	}
	f.t.Fatal("the message did not come")
	return nil, nil
}

// row is one change, its values as text.
type row struct {
	op     change.Op
	at     change.Position
	time   int64
	xid    uint32
	moved  bool
	key    string
	values []string
	table  *change.Table
	reject *change.Reject
}

// String is "u 1|a|<unchanged>", with > for a row whose key moved.
func (r row) String() string {
	s := string(rune(r.op))
	if r.moved {
		s += ">"
	}
	return s + " " + strings.Join(r.values, "|")
}

func texts(rows []row) string {
	var lines []string
	for _, r := range rows {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

func explode(t *testing.T, b *change.Batch) []row {
	t.Helper()
	if int(b.Rows.NumRows()) != b.Len() || len(b.At) != b.Len() || len(b.Times) != b.Len() || len(b.Xids) != b.Len() {
		t.Fatalf("batch of %s: lengths differ", b.Table)
	}
	if !b.Rows.Schema().Equal(b.Table.ArrowSchema()) {
		t.Fatalf("batch of %s: the schema is %s, want %s", b.Table, b.Rows.Schema(), b.Table.ArrowSchema())
	}
	out := make([]row, b.Len())
	for i := range out {
		r := &out[i]
		r.op, r.at, r.time, r.xid, r.moved, r.table = b.Ops[i], b.At[i], b.Times[i], b.Xids[i], b.Moved.Get(i), b.Table
		if b.Keys != nil {
			r.key = b.Keys.Value(i)
		}
		r.reject = b.Rejects[i]
		for c, col := range b.Rows.Columns() {
			v := value(col, i)
			if b.Unchanged != nil && b.Unchanged[c].Get(i) {
				if v != "NULL" {
					t.Errorf("an unchanged value is %q", v)
				}
				v = "<unchanged>"
			}
			r.values = append(r.values, v)
		}
	}
	return out
}

// value is a value as PostgreSQL prints it.
func value(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "NULL"
	}
	switch a := a.(type) {
	case *array.Binary:
		return `\x` + hex.EncodeToString(a.Value(i))
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(i))).UTC().Format("2006-01-02 15:04:05.000000")
	case *array.Decimal128:
		return a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale)
	case *array.List:
		var out []string
		for from, to := a.ValueOffsets(i); from < to; from++ {
			out = append(out, value(a.ListValues(), int(from)))
		}
		return fmt.Sprintf("%q", out)
	case *array.Struct:
		out := map[string]string{}
		for f := range a.NumField() {
			out[a.DataType().(*arrow.StructType).Field(f).Name] = value(a.Field(f), i)
		}
		return fmt.Sprint(out)
	case *array.Float32:
		return fmt.Sprint(a.Value(i))
	case *array.Float64:
		return fmt.Sprint(a.Value(i))
	default:
		return a.ValueStr(i)
	}
}
