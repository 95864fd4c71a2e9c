package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Tables are the tables that Options.Match takes, as the catalogs have them now.
// A partition whose root is taken belongs to the root. Views, foreign, temporary
// and unlogged tables have no changes in the log and are left out, the last with a
// warning, as generated columns are.
func (c *Connector) Tables(ctx context.Context) ([]*change.Table, error) {
	var out []*change.Table
	var relations []*catalogTable
	err := c.inCatalog(ctx, func(tx pgx.Tx) (err error) {
		if relations, err = c.lookAll(ctx, tx); err != nil {
			return err
		}
		out = nil
		for _, r := range relations {
			out = append(out, r.Table)
		}
		return c.sayUnlogged(ctx, tx, out)
	})
	if err == nil {
		err = c.measure(ctx, relations)
	}
	if err != nil {
		return nil, fmt.Errorf("read the catalogs: %w", err)
	}
	for _, r := range relations {
		c.tables.put(r)
	}
	if c.opts.Messages == nil {
		return out, nil
	}
	messages := newMessages().rows.table
	if slices.ContainsFunc(out, func(t *change.Table) bool { return t.String() == messages.String() }) {
		return nil, &SetupError{fmt.Sprintf("table %s has the name under which logical messages are kept: leave it out, or rename it", messages)}
	}
	return append(out, messages), nil
}

// catalogTable is a table with what only this package needs to know of it.
type catalogTable struct {
	*change.Table
	partitioned bool
	partition   bool
	ancestors   []uint32 // of a partition
	identity    string   // relreplident
	oddLeaves   bool     // a partition whose identity is NOTHING or an index
	foreign     bool     // a partition is a foreign table
	lateKey     string   // the clauses of ALTER TABLE that make its deferrable primary key one that is not
	types       []dataType
	missing     []*string // attmissingval of each column
	generated   []string  // columns that are left out
	publisher   string    // who made the publication that leaves some columns or rows out; empty: nobody
	virtual     bool      // one of these has no stored values
}

// inCatalog runs f in a short read-only transaction that sees one state.
func (c *Connector) inCatalog(ctx context.Context, f func(pgx.Tx) error) error {
	return c.catalog.do(ctx, func(db *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
	})
}

// lookAll describes every table that is taken, but for its size.
func (c *Connector) lookAll(ctx context.Context, tx pgx.Tx) ([]*catalogTable, error) {
	all, err := listTables(ctx, tx, nil)
	if err != nil {
		return nil, err
	}
	all = c.matching(all)
	return all, c.describe(ctx, tx, all)
}

// matching leaves those of all tables that are taken.
func (c *Connector) matching(all []*catalogTable) []*catalogTable {
	taken := map[uint32]bool{}
	for _, t := range all {
		taken[t.ID] = c.opts.Match(t.Schema, t.Name)
	}
	return slices.DeleteFunc(all, func(t *catalogTable) bool {
		return !taken[t.ID] || !c.takes(t.Schema, t.Name) || slices.ContainsFunc(t.ancestors, func(id uint32) bool { return id != t.ID && taken[id] })
	})
}

// loadTypes fetches what the types ids stand for.
func (c *Connector) loadTypes(ctx context.Context, ids []uint32) error {
	return c.catalog.do(ctx, func(db *pgx.Conn) error { return c.types.load(ctx, db, ids) })
}

// look describes the table with number id but for its size, nil where it is gone.
// The stream asks so, and must not wait for whoever has locked the table.
func (c *Connector) look(ctx context.Context, id uint32) (*catalogTable, error) {
	var t *catalogTable
	err := c.inCatalog(ctx, func(tx pgx.Tx) error {
		all, err := listTables(ctx, tx, []uint32{id})
		if err != nil || len(all) == 0 {
			return err
		}
		t = all[0]
		return c.describe(ctx, tx, all)
	})
	return t, err
}

// listTables lists the tables that could be taken, or those numbered ids, without
// columns, keys and sizes. It waits for no lock.
func listTables(ctx context.Context, tx pgx.Tx, ids []uint32) ([]*catalogTable, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', c.relispartition, c.relreplident::text,
			greatest(coalesce(p.rows, c.reltuples), 0)::bigint,
			coalesce(p.odd, false), coalesce(p.fdw, false), c.relfilenode,
			CASE WHEN c.relispartition THEN array(SELECT relid::oid FROM pg_partition_ancestors(c.oid)) ELSE '{}' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL (
			WITH RECURSIVE below(oid) AS (
				SELECT c.oid WHERE c.relkind = 'p'
				UNION ALL
				SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent
			)
			SELECT sum(greatest(l.reltuples, 0)) AS rows,
				bool_or(l.relreplident NOT IN ('d', 'f') OR l.relreplident = 'f' AND EXISTS (
					SELECT FROM pg_attribute a WHERE a.attrelid = l.oid AND a.attgenerated = 'v')) FILTER (WHERE l.relkind = 'r') AS odd, bool_or(l.relkind = 'f') AS fdw
			FROM below JOIN pg_class l USING (oid) WHERE l.relkind <> 'p'
		) p ON c.relkind = 'p'
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND ($1::oid[] IS NULL OR c.oid = ANY ($1))
			AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		ORDER BY n.nspname, c.relname`, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*catalogTable, error) {
		t := &catalogTable{Table: new(change.Table)}
		var file uint32 // another one after every row was written anew
		err := row.Scan(&t.ID, &t.Schema, &t.Name, &t.partitioned, &t.partition, &t.identity,
			&t.RowsEstimate, &t.oddLeaves, &t.foreign, &file, &t.ancestors)
		if file != 0 { // a partitioned table has none
			t.Storage = strconv.FormatUint(uint64(file), 10)
		}
		return t, err
	})
}

// describe adds columns and keys.
func (c *Connector) describe(ctx context.Context, tx pgx.Tx, tables []*catalogTable) error {
	byID := map[uint32]*catalogTable{}
	ids := make([]uint32, 0, len(tables))
	for _, t := range tables {
		byID[t.ID] = t
		ids = append(ids, t.ID)
	}
	if err := c.describeColumns(ctx, tx, ids, byID); err != nil {
		return fmt.Errorf("columns: %w", err)
	}
	if err := c.describePublished(ctx, tx, ids, byID); err != nil {
		return fmt.Errorf("what is published: %w", err)
	}
	if err := describeKeys(ctx, tx, ids, byID); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := describeConstraints(ctx, tx, ids, byID); err != nil {
		return err
	}
	if err := describeLeaves(ctx, tx, tables); err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	for _, t := range tables {
		c.land(t)
	}
	return nil
}

// land gives the columns of a table whose key is known their form, and the values that
// rows older than a column have.
func (c *Connector) land(t *catalogTable) {
	c.landTypes(t.Table, t.types)
	for i, missing := range t.missing {
		if missing == nil {
			continue
		}
		col := &t.Columns[i]
		v, err := missingValue(*missing, &t.types[i])
		if err != nil {
			t.Refused = fmt.Sprintf("column %s: the value of rows older than the column: %v", col.Name, err)
		}
		col.Missing = v
	}
}

// attribute is a row of pg_attribute.
type attribute struct {
	table     uint32
	name      string
	typeName  string
	typeID    uint32
	mod       int32
	notNull   bool
	generated string // attgenerated: empty, s or v
	number    int
	shape     string
	missing   *string // attmissingval, an array of one element
	preset    uint32  // number of its default, 0: none
}

func (c *Connector) describeColumns(ctx context.Context, tx pgx.Tx, ids []uint32, byID map[uint32]*catalogTable) error {
	rows, err := tx.Query(ctx, `
		SELECT attrelid, attname, format_type(atttypid, atttypmod), atttypid, atttypmod, attnotnull, attgenerated::text, attnum, xmin::text,
			CASE WHEN atthasmissing THEN attmissingval::text END, coalesce((SELECT oid FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum), 0)
		FROM pg_attribute WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped
		ORDER BY attrelid, attnum`, ids)
	if err != nil {
		return err
	}
	attributes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a attribute, err error) {
		return a, row.Scan(&a.table, &a.name, &a.typeName, &a.typeID, &a.mod, &a.notNull, &a.generated, &a.number, &a.shape, &a.missing, &a.preset)
	})
	if err != nil {
		return err
	}
	types := make([]uint32, len(attributes))
	for i, a := range attributes {
		types[i] = a.typeID
	}
	if err := c.types.load(ctx, tx.Conn(), types); err != nil {
		return fmt.Errorf("types: %w", err)
	}
	definitions, err := loadDefinitions(ctx, tx, types)
	if err != nil {
		return fmt.Errorf("definitions of types: %w", err)
	}
	for _, t := range byID {
		t.Generated = []int{}
	}
	for _, a := range attributes {
		t := byID[a.table]
		if a.generated == "v" || a.generated != "" && !c.publishesGenerated() {
			t.generated, t.Generated, t.virtual = append(t.generated, a.name), append(t.Generated, a.number), t.virtual || a.generated == "v"
			continue
		}
		d := c.types.resolve(a.typeID, a.mod)
		t.Columns = append(t.Columns, change.Column{Name: a.name, Type: a.typeName, Nullable: !a.notNull, ID: a.number, Shape: a.shape, Default: a.preset, Definition: definitions[a.typeID]})
		t.types, t.missing = append(t.types, d), append(t.missing, a.missing)
	}
	return nil
}

// publishesGenerated reports whether the server can publish generated columns that are stored:
// ours are published, and with replica identity FULL it refuses UPDATEs otherwise.
func (c *Connector) publishesGenerated() bool { return c.version >= 18 }

// missingValue reads attmissingval, an array of one element as text.
func missingValue(s string, d *dataType) (arrow.Array, error) {
	if len(s) < 3 || s[0] != '{' {
		return nil, errMalformed
	}
	v, n, quoted := arrayElement(nil, []byte(s[1:]), '}') // a comma is none that separates
	if n == 0 || !quoted && string(v) == "NULL" {
		return nil, nil
	}
	c := newColumn(d)
	if err := c.put(v, c.text); err != nil {
		return nil, err
	}
	return c.NewArray(), nil
}

// index is a unique index that is valid, whole and on plain columns.
type index struct {
	table             uint32
	name              string
	primary, identity bool
	immediate         bool // not deferrable
	notNull           bool // all of its columns are
	columns           []string
}

func describeKeys(ctx context.Context, tx pgx.Tx, ids []uint32, byID map[uint32]*catalogTable) error {
	rows, err := tx.Query(ctx, `
		SELECT i.indrelid, (SELECT relname FROM pg_class WHERE oid = i.indexrelid), i.indisprimary, i.indisreplident, i.indimmediate,
			bool_and(a.attnotnull), array_agg(a.attname::text ORDER BY k.n)
		FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n), pg_attribute a
		WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
			AND k.n <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
		GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident, i.indimmediate
		ORDER BY i.indrelid, i.indexrelid`, ids)
	if err != nil {
		return err
	}
	indexes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x index, err error) {
		return x, row.Scan(&x.table, &x.name, &x.primary, &x.identity, &x.immediate, &x.notNull, &x.columns)
	})
	if err != nil {
		return err
	}
	of := map[uint32][]index{}
	for _, x := range indexes {
		of[x.table] = append(of[x.table], x)
	}
	for id, t := range byID {
		t.chooseKey(of[id])
	}
	return nil
}

// chooseKey sets what identifies a row: what PostgreSQL logs of the old row must
// contain it, and it must be unique after every single change. Where nothing
// does, Note says why.
func (t *catalogTable) chooseKey(indexes []index) {
	find := func(ok func(index) bool) *index {
		if i := slices.IndexFunc(indexes, ok); i >= 0 {
			return &indexes[i]
		}
		return nil
	}
	kind := change.PrimaryKey
	var key *index
	primary := find(func(x index) bool { return x.primary })
	switch {
	case primary != nil && !primary.immediate && t.identity != "i":
		t.Note = "its primary key is deferrable"
		t.lateKey = fmt.Sprintf("DROP CONSTRAINT %[1]s, ADD CONSTRAINT %[1]s PRIMARY KEY (%[2]s)", quote(primary.name), quoteAll(primary.columns))
		if t.identity == "f" {
			t.Note = "" // another unique index may do
		}
	case primary != nil:
		key = primary
	default:
		t.Note = "it has no primary key"
	}
	switch t.identity {
	case "n":
		key, t.Note = nil, "its replica identity is NOTHING"
	case "i":
		kind = change.UniqueKey
		if key = find(func(x index) bool { return x.identity && x.immediate && x.notNull }); key == nil {
			t.Note = "the index of its replica identity is gone"
		} else if key.primary {
			kind = change.PrimaryKey
		}
	case "f":
		if key == nil && !t.partitioned {
			kind = change.UniqueKey
			key = find(func(x index) bool { return x.immediate && x.notNull })
		}
		if key == nil {
			t.Note = "its replica identity is FULL, and it has no unique index, not deferrable, on columns that are not null"
		}
	}
	if t.virtual && t.identity == "f" {
		key, t.Note = nil, "its replica identity is FULL, and with that PostgreSQL refuses to publish UPDATEs of a table with virtual generated columns"
	}
	if t.partitioned && key != nil && (t.oddLeaves || t.identity == "i") {
		key, t.Note = nil, "a partition has another replica identity than DEFAULT or FULL, which its siblings do not share"
	}
	if key == nil {
		return
	}
	if missing := t.setKey(key.columns, kind); missing != "" {
		t.Note = "column " + missing + " of its key is generated, and PostgreSQL does not publish it"
	}
}

// setKey makes the named columns the key and returns "", or returns the first that is not there.
func (t *catalogTable) setKey(names []string, kind change.KeyKind) (missing string) {
	key := make([]int, 0, len(names))
	for _, name := range names {
		i := columnIndex(t.Table, name)
		if i < 0 {
			return name
		}
		key = append(key, i)
	}
	t.Key, t.KeyKind, t.Note = key, kind, ""
	return ""
}

func columnIndex(t *change.Table, name string) int {
	return slices.IndexFunc(t.Columns, func(c change.Column) bool { return c.Name == name })
}

// native reports whether every column can travel in binary.
func (t *catalogTable) native() bool {
	return !slices.ContainsFunc(t.types, func(d dataType) bool { return !d.native() })
}

// quote writes a qualified name.
func quote(name ...string) string { return pgx.Identifier(name).Sanitize() }

// quoteAll writes a list of names.
func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return strings.Join(quoted, ", ")
}

// literal writes a text constant.
func literal(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}
