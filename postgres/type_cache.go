package postgres

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
)

// typeRow is a row of pg_type.
type typeRow struct {
	enum       bool
	base       uint32 // of a domain
	baseMod    int32
	elem       uint32 // of a true array
	comma      string // between its elements
	subtype    uint32 // of a range
	ranges     uint32 // of a multirange: its range
	extension  string // "hstore.hstore": extension and name, empty for others
	composite  bool
	attributes []attributeRow
}

// attributeRow is an attribute of a composite type.
type attributeRow struct {
	name string
	id   uint32
	mod  int32
}

// typeCache remembers rows of pg_type. What a number stands for never changes, but
// for the attributes of composite types, which are read again each time.
type typeCache struct {
	mu   sync.Mutex
	rows map[uint32]typeRow
}

func newTypeCache() *typeCache { return &typeCache{rows: map[uint32]typeRow{}} }

// load fetches what resolve will need of the types ids: themselves, the types
// under domains and ranges, the elements of arrays and the attributes of composites.
func (c *typeCache) load(ctx context.Context, db *pgx.Conn, ids []uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := slices.DeleteFunc(slices.Clone(ids), c.known)
	if len(missing) == 0 {
		return nil
	}
	rows, err := db.Query(ctx, `
		WITH RECURSIVE need(oid) AS (
			SELECT unnest($1::oid[])
			UNION
			SELECT n FROM need JOIN pg_type t USING (oid), LATERAL (
				SELECT t.typbasetype UNION ALL SELECT t.typelem
				UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid = r.rngtypid
				UNION ALL SELECT r.rngtypid FROM pg_range r WHERE t.oid = r.rngmultitypid
				UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			) v(n) WHERE n <> 0
		)
		SELECT t.oid, t.typdelim::text, t.typtype = 'e', t.typtype = 'c', t.typbasetype, t.typtypmod, coalesce(e.oid, 0), coalesce(r.rngsubtype, 0), coalesce(m.rngtypid, 0),
			coalesce((SELECT x.extname || '.' || t.typname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
				WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), ''),
			a.names, a.types, a.mods
		FROM need JOIN pg_type t USING (oid) LEFT JOIN pg_type e ON e.typarray = t.oid
			LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid,
			LATERAL (
				SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}') AS names, coalesce(array_agg(atttypid ORDER BY attnum), '{}') AS types,
					coalesce(array_agg(atttypmod ORDER BY attnum), '{}') AS mods
				FROM pg_attribute WHERE t.typtype = 'c' AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
			) a`, missing)
	if err != nil {
		return err
	}
	var id uint32
	var r typeRow
	var names []string
	var types []uint32
	var mods []int32
	_, err = pgx.ForEachRow(rows, []any{&id, &r.comma, &r.enum, &r.composite, &r.base, &r.baseMod, &r.elem, &r.subtype, &r.ranges, &r.extension, &names, &types, &mods}, func() error {
		r.attributes = nil
		for i := range names {
			r.attributes = append(r.attributes, attributeRow{names[i], types[i], mods[i]})
		}
		c.rows[id] = r
		return nil
	})
	return err
}

// known reports whether nothing of a type has to be fetched.
func (c *typeCache) known(id uint32) bool {
	if builtin[id] != other {
		return true
	}
	r, ok := c.rows[id]
	switch {
	case !ok || r.composite:
		return false
	case r.base != 0:
		return c.known(r.base)
	case r.elem != 0:
		return c.known(r.elem)
	case r.subtype != 0:
		return c.known(r.subtype)
	case r.ranges != 0:
		return c.known(r.ranges)
	}
	return true
}

// resolve is the type with number id under modifier mod. A type that was not
// loaded, because it is gone, travels as its text.
func (c *typeCache) resolve(id uint32, mod int32) dataType {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(id, mod, 0)
}

// deepest is how far types are followed into each other: what is deeper travels as its text.
const deepest = 32

func (c *typeCache) find(id uint32, mod int32, depth int) dataType {
	for r := c.rows[id]; r.base != 0; r = c.rows[id] {
		if id = r.base; r.baseMod >= 0 {
			mod = r.baseMod
		}
	}
	d := c.made(id, mod, depth)
	if _, there := c.rows[id]; d.id == 0 && (there || d.kind != other) {
		d.id = id
	}
	return d
}

// made is the type with number id, which is no domain.
func (c *typeCache) made(id uint32, mod int32, depth int) dataType {
	if k := builtin[id]; k != other {
		d := dataType{kind: k}
		if k == numeric && mod >= 4 {
			d.precision = (mod - 4) >> 16 & 0xffff
			d.scale = ((mod-4)&0x7ff ^ 1024) - 1024 // 11 bits, signed
		}
		return d
	}
	r := c.rows[id]
	of := func(k kind, id uint32, mod int32) dataType {
		e := c.find(id, mod, depth+1)
		return dataType{kind: k, elem: &e}
	}
	switch {
	case depth == deepest:
		return dataType{}
	case r.enum:
		return dataType{kind: text}
	case r.elem != 0:
		d := of(list, r.elem, mod) // the modifier of numeric(5,2)[] is that of its elements
		d.comma = r.comma[0]
		return d
	case r.subtype != 0:
		return of(rangeOf, r.subtype, -1)
	case r.ranges != 0:
		return of(multirange, r.ranges, -1)
	case len(r.attributes) > 0:
		d := dataType{kind: composite}
		for _, a := range r.attributes {
			d.attributes = append(d.attributes, attributeType{a.name, a.id, c.find(a.id, a.mod, depth+1)})
		}
		return d
	}
	d := dataType{kind: extensionKinds[r.extension]}
	if d.kind == text { // citext
		d.id = textID
	}
	return d
}
