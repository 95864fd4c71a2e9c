package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// relation is what the stream's Relation message says about a table, and the
// changes that were read of it.
type relation struct {
	info  pgoutput.RelationInfo
	types []dataType
	rows  *rows         // nil: its changes are dropped
	was   *change.Table // what it was taken as, before it got a name that is not
	dirty bool          // it is in stream.dirty
}

// errNeedsText is a table that a binary stream cannot carry.
var errNeedsText = errors.New("a column has no binary form that can be read")

// describeRelation makes a relation of a message. Columns come from the message,
// which is as old as the changes behind it; the catalogs, which may be ahead of
// the stream, add what it does not say: the order of the key's columns, the key
// under identity FULL, the names of types and the values of rows older than a column.
func (c *Connector) describeRelation(ctx context.Context, info pgoutput.RelationInfo) (*relation, error) {
	info.Columns = slices.Clone(info.Columns) // the parser reuses them
	if info.Namespace == "" {
		info.Namespace = "pg_catalog"
	}
	r := &relation{info: info}
	now, err := c.look(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	if r.types, err = c.columnTypes(ctx, info.Columns); err != nil {
		return nil, err
	}
	if now == nil {
		now = &catalogTable{Table: new(change.Table)}
	}
	t := &change.Table{Filter: now.Filter, Left: now.Left, Schema: info.Namespace, Name: info.Name, ID: info.ID, Storage: now.Storage, Leaves: now.Leaves, Generated: now.Generated, Refused: now.Refused}
	for _, col := range info.Columns {
		t.Columns = append(t.Columns, change.Column{Name: col.Name, Nullable: true})
	}
	relationKey(t, info, now)
	c.landTypes(t, r.types)
	ahead := now.ahead(info.Columns)
	for i := range t.Columns {
		out := &t.Columns[i]
		switch j := columnIndex(now.Table, out.Name); {
		case j >= 0 && now.types[j].equal(&r.types[i]):
			reads := out.Reads
			*out = now.Columns[j]
			out.Reads = reads // the catalogs may be ahead, and have another type that travels alike
		case j >= 0:
			out.ID, out.Shape, out.Default, out.Definition = now.Columns[j].ID, now.Columns[j].Shape, now.Columns[j].Default, now.Columns[j].Definition
		}
		if ahead {
			out.ID, out.Shape, out.Default = 0, "", 0
		}
	}
	if ahead {
		t.Storage = ""
	}
	r.rows = c.newRows(c.tables.settle(t), r.types)
	return r, nil
}

// ahead reports whether columns of a message cannot all be those that the catalogs have under their
// names: these stand in another order, or one of a lower number has a name that the message lacks,
// which the table had then, as it has no new column before an old one.
func (t *catalogTable) ahead(message []pgoutput.Column) bool {
	last := -1
	in := map[string]bool{}
	for _, col := range message {
		in[col.Name] = true
		if i := columnIndex(t.Table, col.Name); i >= 0 && i < last {
			return true
		} else if i >= 0 {
			last = i
		}
	}
	return slices.ContainsFunc(t.Columns[:last+1], func(c change.Column) bool { return !in[c.Name] })
}

// columnTypes resolves the types of a relation's columns.
func (c *Connector) columnTypes(ctx context.Context, columns []pgoutput.Column) ([]dataType, error) {
	ids := make([]uint32, len(columns))
	for i, col := range columns {
		ids[i] = col.TypeID
	}
	if err := c.loadTypes(ctx, ids); err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	types := make([]dataType, len(columns))
	for i, col := range columns {
		types[i] = c.types.resolve(col.TypeID, col.Modifier)
	}
	return types, nil
}

// relationKey sets the table's key.
func relationKey(t *change.Table, info pgoutput.RelationInfo, now *catalogTable) {
	ct := &catalogTable{Table: t}
	var names []string // of the key in the catalogs
	for _, i := range now.Key {
		names = append(names, now.Columns[i].Name)
	}
	var flagged []string
	for _, col := range info.Columns {
		if col.Key {
			flagged = append(flagged, col.Name)
		}
	}
	switch info.Identity {
	case 'f':
		if ct.setKey(names, now.KeyKind); now.KeyKind == change.NoKey {
			t.Note = now.Note
		}
	case 'd', 'i':
		kind := change.PrimaryKey
		if info.Identity == 'i' {
			kind = change.UniqueKey
		}
		switch {
		case len(flagged) == 0 || now.oddLeaves:
			t.Note = now.Note
		case sameSet(flagged, names):
			ct.setKey(names, now.KeyKind)
		default: // the catalogs are ahead: the columns' own order is what is left
			ct.setKey(flagged, kind)
		}
	default:
		t.Note = now.Note
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// tableCache holds what was last handed out of each table, so that batches under
// one schema share one pointer.
type tableCache struct {
	mu     sync.Mutex
	tables map[uint32]*change.Table
}

func (c *tableCache) get(id uint32) *change.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tables[id]
}

// settle is the known table where t does not differ from it, else t.
func (c *tableCache) settle(t *change.Table) *change.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.tables[t.ID]; known != nil {
		if sameSchema(known, t) {
			return known
		}
		t.Bytes, t.RowsEstimate = known.Bytes, known.RowsEstimate
	}
	c.tables[t.ID] = t
	return t
}

// put makes t the known table, for its newer sizes. Another schema than the known
// one is for the stream to meet.
func (c *tableCache) put(t *catalogTable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.tables[t.ID]; known == nil || sameSchema(known, t.Table) {
		c.tables[t.ID] = t.Table
	}
}

// sameSchema reports whether two descriptions of a table differ in nothing that
// its readers see.
func sameSchema(a, b *change.Table) bool {
	return a.Schema == b.Schema && a.Name == b.Name && a.KeyKind == b.KeyKind && a.Storage == b.Storage && slices.Equal(a.Leaves, b.Leaves) && slices.Equal(a.Key, b.Key) &&
		slices.EqualFunc(a.Columns, b.Columns, func(x, y change.Column) bool {
			return x.Name == y.Name && x.Type == y.Type && x.Nullable == y.Nullable && x.ID == y.ID && x.Shape == y.Shape && x.Default == y.Default && x.Reads == y.Reads && maps.Equal(x.Definition, y.Definition) && (x.Missing == nil) == (y.Missing == nil) &&
				(x.Missing == nil || array.Equal(x.Missing, y.Missing))
		})
}

func (r *relation) native() bool {
	return !slices.ContainsFunc(r.types, func(d dataType) bool { return !d.native() })
}
