package postgres

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// kind says how the values of a type are read. Everything but other is "native":
// read from PostgreSQL's binary format as well as from its text, where the types
// that it is made of are.
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
	text // text, varchar, char(n), name, enums, citext, refcursor
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
	versioned // a version byte, 1, and text: jsonpath, ltree and its queries
	network   // inet
	block     // cidr: an address that always shows its bits
	mac       // macaddr, macaddr8
	bitString // bit, varbit
	lsn       // pg_lsn
	unsigned4 // xid, cid
	unsigned8 // xid8
	tid
	snapshotID // pg_snapshot, txid_snapshot
	point
	segment // lseg
	path
	box
	polygon
	line
	circle
	tsvector
	vector // int2vector, oidvector
	hstore
	geometry        // PostGIS: geometry, geography
	embedding       // pgvector: vector
	halfEmbedding   // halfvec
	sparseEmbedding // sparsevec
	list            // an array
	rangeOf         // a range
	multirange      // ranges of one type
	composite       // attributes
)

// builtin are the kinds of the types whose numbers are fixed.
var builtin = map[uint32]kind{
	16: boolean, 21: int2, 23: int4, 20: int8, 26: oid, 700: float4, 701: float8, 1700: numeric,
	25: text, 1043: text, 1042: text, 19: text, 1790: text, 18: char, 17: bytea,
	1082: date, 1083: timeOfDay, 1266: timeTZ, 1114: timestamp, 1184: timestampTZ, 1186: interval,
	2950: uuid, 114: jsonText, 3802: jsonb, 4072: versioned,
	869: network, 650: block, 829: mac, 774: mac, 1560: bitString, 1562: bitString,
	3220: lsn, 5069: unsigned8, 28: unsigned4, 29: unsigned4, 27: tid, 2970: snapshotID, 5038: snapshotID,
	600: point, 601: segment, 602: path, 603: box, 604: polygon, 628: line, 718: circle,
	3614: tsvector, 22: vector, 30: vector,
}

// extensionKinds are types of extensions, whose numbers are not fixed.
var extensionKinds = map[string]kind{
	"citext.citext": text, "hstore.hstore": hstore,
	"postgis.geometry": geometry, "postgis.geography": geometry,
	"vector.vector": embedding, "vector.halfvec": halfEmbedding, "vector.sparsevec": sparseEmbedding,
	"ltree.ltree": versioned, "ltree.lquery": versioned, "ltree.ltxtquery": versioned,
}

// dataType is a column's type, with domains resolved to what they stand on.
type dataType struct {
	kind             kind
	id               uint32    // its number, a domain's being that of what it stands on; 0: not known
	elem             *dataType // of a list, range, multirange or vector
	comma            byte      // between the elements of a list's text
	attributes       []attributeType
	precision, scale int32 // of numeric; precision 0: any
	landing          landing
}

// attributeType is an attribute of a composite type.
type attributeType struct {
	name string
	id   uint32 // of its type, as values in binary say it
	dataType
}

// landing is the form in which a value lands where a type has several.
type landing uint8

const (
	plain  landing = iota
	asText         // as PostgreSQL prints it
	nested         // a list, a composite, a vector or a geometry in Arrow's own form
)

// The decimal type of numerics: at most 38 digits; those without a declared
// precision have 18 behind the point.
const (
	maxPrecision   = 38
	unboundedScale = 18
)

// native reports whether values can be read in binary.
func (d *dataType) native() bool {
	switch d.kind {
	case other:
		return false
	case list, rangeOf, multirange:
		return d.elem.native()
	case composite:
		return !slices.ContainsFunc(d.attributes, func(a attributeType) bool { return !a.native() })
	default:
		return true
	}
}

// alike are types that PostgreSQL takes for another one without a look at the rows, and whose
// values read the same then. Other casts of this kind (pg_cast.castmethod is b) make older rows
// read otherwise: cidr to inet takes away a /32, integer to oid a sign, integer to regclass
// makes a name of it, and xml to text brings a declaration that was not shown.
var alike = map[uint32]uint32{1043: textID, 1042: textID, 1560: 1562}

const textID = 25

// reads is what [change.Column] says of it.
func (d *dataType) reads() string {
	id := cmp.Or(alike[d.id], d.id)
	switch {
	case id == 0:
		return ""
	case d.kind == timestampTZ && d.landing == plain:
		id = 1114 // under the time zone UTC the other one has the same values, which land as numbers
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (d *dataType) equal(e *dataType) bool {
	switch {
	case d == nil || e == nil:
		return d == e
	case d.kind != e.kind || d.precision != e.precision || d.scale != e.scale || d.landing != e.landing:
		return false
	}
	return d.elem.equal(e.elem) && slices.EqualFunc(d.attributes, e.attributes, func(a, b attributeType) bool {
		return a.name == b.name && a.id == b.id && a.equal(&b.dataType)
	})
}

// arrow is the type in which values travel.
func (d *dataType) arrow() arrow.DataType {
	if d.landing == asText {
		return arrow.BinaryTypes.String
	}
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
	case geometry:
		if d.landing == nested {
			return arrow.BinaryTypes.Binary
		}
	case embedding, halfEmbedding:
		if d.landing == nested {
			return arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.PrimitiveTypes.Float32, Nullable: true})
		}
	case list:
		if d.landing == nested {
			return arrow.ListOfField(arrow.Field{Name: "element", Type: d.elem.arrow(), Nullable: true})
		}
	case composite:
		if d.landing == nested {
			return d.structType()
		}
	default:
	}
	return arrow.BinaryTypes.String
}

// structType has a field for every attribute, under a name that Avro and Spark take:
// letters, digits and underscores, none twice, upper and lower case alike.
func (d *dataType) structType() *arrow.StructType {
	taken := map[string]bool{}
	fields := make([]arrow.Field, len(d.attributes))
	for i, a := range d.attributes {
		name := strings.Map(func(r rune) rune {
			if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '_'
		}, a.name)
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			name = "_" + name
		}
		free := name
		for n := 2; taken[strings.ToLower(free)]; n++ {
			free = fmt.Sprintf("%s_%d", name, n)
		}
		taken[strings.ToLower(free)] = true
		fields[i] = arrow.Field{Name: free, Type: a.arrow(), Nullable: true}
	}
	return arrow.StructOf(fields...)
}

// decimal is the precision and scale of a numeric's column. PostgreSQL allows a
// scale below zero (numeric(3,-2): hundreds) and above the precision
// (numeric(2,4): 0.00xx); both fit a decimal whose scale lies between.
func (d *dataType) decimal() (precision, scale int32) {
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
