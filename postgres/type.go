package postgres

import (
	"context"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"
)

// kind says how the values of a type are read. Everything but other is "native":
// read from PostgreSQL's binary format as well as from its text.
type kind uint8

const (
	other kind = iota // travels as its text, into a string column
	boolean
	int2
	int4
	int8
	oid
	float4
	float8
	numeric
	text // text, varchar, char(n), name, enums
	char // "char", one byte
	bytea
	date
	timeOfDay
	timeTZ
	timestamp
	timestampTZ
	interval
	uuid
	jsonText
	jsonb
	list // an array of a native type, as JSON
)

// builtin are the kinds of the types whose numbers are fixed.
var builtin = map[uint32]kind{
	16: boolean, 21: int2, 23: int4, 20: int8, 26: oid, 700: float4, 701: float8, 1700: numeric,
	25: text, 1043: text, 1042: text, 19: text, 18: char, 17: bytea,
	1082: date, 1083: timeOfDay, 1266: timeTZ, 1114: timestamp, 1184: timestampTZ, 1186: interval,
	2950: uuid, 114: jsonText, 3802: jsonb,
}

// dataType is a column's type, with domains resolved to what they stand on.
type dataType struct {
	kind             kind
	elem             kind  // of a list
	precision, scale int32 // of numeric; precision 0: any
}

func (d dataType) native() bool { return d.kind != other }

// The decimal type of numerics: at most 38 digits; those without a declared
// precision have 18 behind the point.
const (
	maxPrecision   = 38
	unboundedScale = 18
)

// arrow is the type in which values travel.
func (d dataType) arrow() arrow.DataType {
	switch d.kind {
	case boolean:
		return arrow.FixedWidthTypes.Boolean
	case int2, int4:
		return arrow.PrimitiveTypes.Int32
	case int8, oid:
		return arrow.PrimitiveTypes.Int64
	case float4:
		return arrow.PrimitiveTypes.Float32
	case float8:
		return arrow.PrimitiveTypes.Float64
	case numeric:
		p, s := d.decimal()
		return &arrow.Decimal128Type{Precision: p, Scale: s}
	case bytea:
		return arrow.BinaryTypes.Binary
	case date:
		return arrow.FixedWidthTypes.Date32
	case timestamp, timestampTZ:
		return arrow.FixedWidthTypes.Timestamp_us
	default:
		return arrow.BinaryTypes.String
	}
}

// decimal is the precision and scale of a numeric's column. PostgreSQL allows a
// scale below zero (numeric(3,-2): hundreds) and above the precision
// (numeric(2,4): 0.00xx); both fit a decimal whose scale lies between.
func (d dataType) decimal() (precision, scale int32) {
	switch {
	case d.precision == 0:
		return maxPrecision, unboundedScale
	case d.scale < 0:
		return min(d.precision-d.scale, maxPrecision), 0
	case d.scale > d.precision:
		return min(d.scale, maxPrecision), min(d.scale, maxPrecision)
	default:
		return min(d.precision, maxPrecision), min(d.scale, maxPrecision)
	}
}

// typeRow is a row of pg_type.
type typeRow struct {
	enum    bool
	base    uint32 // of a domain
	baseMod int32
	elem    uint32 // of a true array
}

// typeCache remembers rows of pg_type. What a number stands for never changes.
type typeCache struct {
	mu   sync.Mutex
	rows map[uint32]typeRow
}

func newTypeCache() *typeCache { return &typeCache{rows: map[uint32]typeRow{}} }

// load fetches what resolve will need of the types ids: themselves, the types
// under domains and the elements of arrays.
func (c *typeCache) load(ctx context.Context, db *pgx.Conn, ids []uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []uint32
	for _, id := range ids {
		if _, ok := c.rows[id]; !ok && builtin[id] == other {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	rows, err := db.Query(ctx, `
		WITH RECURSIVE need(oid) AS (
			SELECT unnest($1::oid[])
			UNION
			SELECT n FROM need JOIN pg_type t USING (oid), LATERAL (VALUES (t.typbasetype), (t.typelem)) v(n) WHERE n <> 0
		)
		SELECT t.oid, t.typtype = 'e', t.typbasetype, t.typtypmod, coalesce(e.oid, 0)
		FROM need JOIN pg_type t USING (oid) LEFT JOIN pg_type e ON e.typarray = t.oid`, missing)
	if err != nil {
		return err
	}
	var id uint32
	var r typeRow
	_, err = pgx.ForEachRow(rows, []any{&id, &r.enum, &r.base, &r.baseMod, &r.elem}, func() error {
		c.rows[id] = r
		return nil
	})
	return err
}

// resolve is the type with number id under modifier mod. A type that was not
// loaded, because it is gone, travels as its text.
func (c *typeCache) resolve(id uint32, mod int32) dataType {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(id, mod)
}

func (c *typeCache) find(id uint32, mod int32) dataType {
	for r := c.rows[id]; r.base != 0; r = c.rows[id] {
		if id = r.base; r.baseMod >= 0 {
			mod = r.baseMod
		}
	}
	if k := builtin[id]; k != other {
		d := dataType{kind: k}
		if k == numeric && mod >= 4 {
			d.precision = (mod - 4) >> 16 & 0xffff
			d.scale = ((mod-4)&0x7ff ^ 1024) - 1024 // 11 bits, signed
		}
		return d
	}
	switch r := c.rows[id]; {
	case r.enum:
		return dataType{kind: text}
	case r.elem != 0:
		if e := c.find(r.elem, -1); e.native() && e.kind != list {
			return dataType{kind: list, elem: e.kind}
		}
	}
	return dataType{}
}
