package everytype

// setup makes the types that the list needs.
var setup = []string{
	`create type mood as enum ('sad', 'happy', 'a "b", c')`,
	"create type pair as (a int, b text)", "create type nothing as ()",
	"create domain price as numeric(10,2)", "create domain fine_pair as pair check ((value).a > 0)", "create domain words as text[]",
	"create type deep as (p pair, amount numeric(12,2), d date, by bytea, tags text[])",
	"create type moments as (since timestamptz, noted timestamp)",
	"create type textrange as range (subtype = text, multirange_type_name = textmultirange)",
}

const (
	bounded = "out of range: NaN, infinity, more digits"
	dated   = "out of range: `infinity`, years outside 1 to 9999"
	asPrint = "exact, as PostgreSQL prints it"
)

// What readers answer where a column's type alone does not say it.
const (
	ownText   = "%[1]s::text"
	asNumber  = "%[1]s::bigint"
	asArray   = "to_json(%[1]s)"
	asPair    = "case when %[1]s::text is not null then json_build_object('a', (%[1]s::pair).a, 'b', (%[1]s::pair).b) end"
	asMoments = `case when %[1]s::text is not null then json_build_object('since', to_char((%[1]s).since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
		'noted', to_char((%[1]s).noted, 'YYYY-MM-DD"T"HH24:MI:SS.US')) end`
	asDeep = `case when %[1]s::text is not null then json_build_object('p', case when (%[1]s).p::text is not null then json_build_object('a', ((%[1]s).p).a, 'b', ((%[1]s).p).b) end,
		'amount', (%[1]s).amount::text, 'd', to_char((%[1]s).d, 'YYYY-MM-DD'), 'by', encode((%[1]s).by, 'base64'), 'tags', array_to_json((%[1]s).tags)::text) end`
	asFloats = "to_json(%[1]s::real[]::float8[])"
	asEWKB   = `translate(encode(st_asewkb(%[1]s), 'base64'), E'\n', '')`
)

// Groups are all types. What the page lists stands in its order.
var Groups = []Group{
	{Name: "binary", Columns: binary},
	{Name: "moments", Columns: moments, Logs: "incompatible"},
	{Name: "vectors", Columns: vectors, Version: 18},
	{Name: "text", Columns: text, Text: true},
}

var binary = []Column{
	{Type: "smallint", Values: []string{"-32768", "32767", "0"}, Remark: "exact"},
	{Type: "integer", Values: []string{"2147483647", "-2147483648", "0"}, Remark: "exact"},
	{Type: "bigint", Values: []string{"-9223372036854775808", "9223372036854775807"}, Remark: "exact"},
	{Type: "oid", Values: []string{"4294967295", "0"}, JSON: asNumber, Remark: "exact"},
	{Type: "real", Values: []string{"'NaN'", "3.4028235e38", "1.1754944e-38", "'-Infinity'", "-0.1"}, Remark: "exact, NaN and infinities too"},
	{Type: "double precision", Values: []string{"0.1", "-1.7976931348623157e308", "5e-324", "'Infinity'", "'NaN'"}, Remark: "exact, NaN and infinities too"},
	{Type: "numeric(12,2)", Values: []string{"-1234.5", "9999999999.99", "0"}, Remark: bounded},
	{Type: "numeric(5,-2)", Values: []string{"12300", "-9999900"}, Remark: bounded + "; a scale below 0 becomes decimal(p+\\|s\\|,0)"},
	{Type: "numeric(2,4)", Values: []string{"0.0012", "-0.0099"}, Remark: bounded + "; a scale above p becomes decimal(s,s)"},
	{Type: "numeric(38,0)", Values: []string{"99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"}},
	{Type: "numeric", Values: []string{"12345678901234567890.5", "-99999999999999999999.999999999999999999", "0.000000000000000001"}, Remark: bounded + " than 20 before or 18 behind the point"},
	{Type: "numeric(60,2)", Values: []string{"1e35", "-999999999999999999999999999999999999.99"}, Remark: bounded},
	{
		Type: "numeric", Rule: "numeric: text", JSON: ownText, Remark: asPrint,
		Values: []string{"1e-30", "'NaN'", "'-Infinity'", "repeat('7', 1000)::numeric", "('-' || repeat('9', 600) || '.' || repeat('1', 400))::numeric", "1e-1000"},
	},
	{Type: "boolean", Values: []string{"true", "false"}, Remark: "exact"},
	{Type: "text", Values: []string{"'é漢😀'", "''", `E'tab\t newline\n return\r quote" back\\ \x01\x7f'`, `'NULL'`, `'\N'`}, Remark: "exact; out of range: what is not UTF-8, in a database in SQL_ASCII"},
	{Type: "varchar(20)", Values: []string{"'x'", "''", "repeat('é', 20)"}, Remark: "as `text`"},
	{Type: "char(5)", Values: []string{"'ab'", "''", "'zzzzz'"}, Remark: "as `text`, with its padding"},
	{Type: `"char"`, Values: []string{"'x'", "''"}, Remark: "bytes above 127 as `\\\\351`"},
	{Type: "name", Values: []string{"'n'", "repeat('é', 31)"}, Remark: "as `text`"},
	{Type: "mood", Kind: "enum", Values: []string{"'happy'", `'a "b", c'`}, Remark: "its label; values may be added while it runs"},
	{Type: "bytea", Values: []string{`'\x00ff'`, `'\x'`, "(select string_agg(set_byte('\\x00', 0, i), '' order by i) from generate_series(0, 255) i)"}, Remark: "exact"},
	{Type: "date", Values: []string{"'2026-11-05'", "'0001-01-01'", "'9999-12-31'", "'1500-03-01'"}, Remark: dated},
	{Type: "date", Rule: "out_of_range: text", Values: []string{"'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"}, JSON: ownText, Remark: asPrint},
	{Type: "timestamptz", Values: []string{"'2026-11-05 07:08:09.5+02'", "'0002-01-01 00:00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'1850-06-15 01:02:03.000004+00'"}, Remark: dated + "; in UTC"},
	{Type: "timestamp", Values: []string{"'2026-11-05 07:08:09.5'", "'0002-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'1850-06-15 01:02:03.000004'"}, Remark: dated + "; the clock's reading taken as UTC, since hudi-rs cannot read local-timestamp-micros"},
	{
		Type: "timestamptz", Rule: "out_of_range: text", JSON: ownText, Remark: asPrint,
		Values: []string{"'0044-03-15 12:00+00 BC'", "'infinity'", "'-infinity'", "'10000-01-01 00:00+00'", "'294276-12-31 23:59:59.999999+00'", "'4714-11-24 00:00+00 BC'"},
	},
	{Type: "time", Values: []string{"'24:00'", "'00:00'", "'23:59:59.999999'"}, Remark: asPrint},
	{Type: "timetz", Values: []string{"'07:08:09+05:30'", "'00:00-15:59'", "'12:00:00+01:02:03'"}, Remark: asPrint},
	{Type: "interval", Values: []string{"'1 year -3 days 04:05:06.5'", "'178000000 years'", "'-1 year -2 mons +3 days -04:05:06.789'", "'0'"}, Remark: asPrint + ", under IntervalStyle postgres"},
	{Type: "uuid", Values: []string{"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}, Remark: "exact"},
	{Type: "json", Values: []string{`'{"a" :  [1, null]}'`, "'null'", `'{"a": 1, "a": "\u00e9"}'`}, Remark: "exact, with its spaces and doubled keys"},
	{Type: "jsonb", Values: []string{`'{"b": 1.50, "a": "é"}'`, "'null'", `'{"n": 1e400}'`}, Remark: asPrint},
	{Type: "jsonpath", Values: []string{`'$.a[*]'`, `'strict $ ? (@."b c" > 1 && exists (@.d))'`}, Remark: asPrint},
	{Type: "integer[]", Values: []string{"'{{1,2},{3,NULL}}'", "'{}'", "'[0:1]={7,8}'", "'{{{1}},{{2}}}'"}, Remark: "JSON as `array_to_json` prints it: any dimension, nulls; lower bounds are forgotten"},
	{Type: "integer[]", Rule: "arrays: list", Values: []string{"'{1,2}'", "'{}'", "'{-2147483648,2147483647}'"}, JSON: asArray, Remark: "out of range: a null in it (Spark cannot rewrite one), a second dimension"},
	{Type: "integer[]", Rule: "arrays: text", Values: []string{"'[0:1]={1,2}'", "'{}'", "'{{1,NULL},{3,4}}'"}, JSON: ownText, Remark: asPrint + ", with its lower bounds"},
	{Type: "timestamptz[]", Values: []string{"'{2026-11-05 07:08:09+00,infinity}'", "'{}'", "'{1899-12-31 00:00:00.123+00,NULL}'"}, Remark: "as above: no value of an element is out of range in JSON"},
	{Type: "text[]", Values: []string{`'{a,NULL,"","q\"uo,te",NULL}'`, "'{{a,b},{c,d}}'"}},
	{Type: "text[]", Rule: "arrays: list", Values: []string{`'{a,"","b,c",é}'`, "'{}'", `'{""}'`}, JSON: asArray},
	{Type: "numeric(10,2)[]", Values: []string{"'{1.50,NULL,-0.01}'", "'{NaN}'"}},
	{Type: "double precision[]", Values: []string{"'{1e20,NaN,-0.1,Infinity}'", "'{5e-324}'"}},
	{Type: "boolean[]", Values: []string{"'{{t,f},{NULL,t}}'"}},
	{Type: "words", Values: []string{`'{"a b",NULL}'`, "'{}'"}},
	{Type: "pair", Kind: "composite: a int, b text", Values: []string{"(1, 'x')", "'(,)'", `(-2147483648, E'x,"y"\\()\n')`}, JSON: asPair, Remark: "a struct of what its attributes are, in their ranges; names as below"},
	{Type: "pair", Kind: "composite: a int, b text", Rule: "composites: text", Values: []string{"(1, 'x,y')", "'(,)'", `(null, '"\')`}, JSON: ownText, Remark: asPrint},
	{Type: "deep", Values: []string{`((1, 'x'), -9999999999.99, '9999-12-31', '\x00ff', '{a,NULL,"b,c"}')`, "'(,,,,)'", "(null, 0.01, '1500-03-01', '', '{}')"}, JSON: asDeep},
	{Type: "pair[]", Values: []string{"array[(1, 'x'), null]::pair[]", `array[(1, 'a,"b'), (null, '')]::pair[]`, "'{}'"}, Remark: "JSON objects"},
	{Type: "pair[]", Rule: "arrays: list", Values: []string{"array[(1, 'x')]::pair[]", "array[(1, 'x'), (null, null)]::pair[]", "'{}'"}, JSON: asArray, Remark: "a list of structs"},
	{Type: "price", Kind: "domain over numeric(10,2)", Values: []string{"1.5", "-99999999.99"}, Remark: "a domain lands as what it stands on, over arrays and composites too"},
	{Type: "fine_pair", Values: []string{"(2, 'é')", "(1, null)"}, JSON: asPair},
	{Type: "int4range", Values: []string{"'[1,5)'", "'empty'", "'(,)'", "'[-2147483648,]'"}, Remark: asPrint},
	{Type: "int8range", Values: []string{"'[-9223372036854775808,1)'"}},
	{Type: "numrange", Values: []string{"'(1.50,2]'", "'[NaN,NaN]'", "'[-Infinity,1e20)'"}},
	{Type: "daterange", Values: []string{"'[2026-01-01,2026-02-01)'", "'[-infinity,infinity)'"}},
	{Type: "tsrange", Values: []string{"'(0044-03-15 12:00 BC,infinity]'"}},
	{Type: "tstzrange", Values: []string{"'[2026-01-01 00:00+02,)'", "'empty'", "'[-infinity,10000-01-01 00:00+00]'"}, Remark: asPrint},
	{Type: "textrange", Values: []string{`textrange('a "b"', 'c\,d', '[]')`, "textrange('', 'x')"}},
	{Type: "int4multirange", Values: []string{"'{[1,3),[5,)}'", "'{}'", "'{(,)}'"}, Remark: asPrint},
	{Type: "datemultirange", Values: []string{"'{[2026-01-01,2026-02-01),[2027-01-01,)}'"}},
	{Type: "textmultirange", Values: []string{"textmultirange(textrange('a b', 'c'), textrange('d,', 'e'))"}},
	{Type: "inet", Values: []string{"'10.0.0.1'", "'::1'", "'10.1.2.3/8'", "'::ffff:1.2.3.4'"}, Remark: asPrint + ": a host without /32, unlike its cast to text"},
	{Type: "cidr", Values: []string{"'10.0.0.0/8'", "'::/0'", "'192.168.1.1'", "'fe80::/10'"}, Remark: asPrint},
	{Type: "macaddr", Values: []string{"'08:00:2b:01:02:03'", "'00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff'"}, Remark: asPrint},
	{Type: "macaddr8", Values: []string{"'08:00:2b:01:02:03:04:05'", "'ff:ff:ff:ff:ff:ff:ff:ff'"}, Remark: asPrint},
	{Type: "bit(3)", Values: []string{"B'101'", "B'000'"}, Remark: asPrint},
	{Type: "varbit", Values: []string{"B'10101'", "B''", "repeat('1', 1000)::varbit"}, Remark: asPrint},
	{Type: "point", Values: []string{"'(1.5,2)'", "'(-1e300,NaN)'", "'(0,-0)'"}, Remark: asPrint},
	{Type: "lseg", Values: []string{"'[(1,2),(3,4)]'", "'[(0,-0),(-Infinity,1e-300)]'"}, Remark: asPrint},
	{Type: "box", Values: []string{"'(3,4),(1,2)'", "'(Infinity,1e300),(-Infinity,-1e300)'"}, Remark: asPrint},
	{Type: "path", Values: []string{"'[(1,2),(3,4)]'", "'((1,2),(3,4),(0.1,5))'"}, Remark: asPrint},
	{Type: "polygon", Values: []string{"'((0,0),(1,1),(2,0))'", "'((0,0))'"}, Remark: asPrint},
	{Type: "line", Values: []string{"'{1,-1,0.5}'", "'{0,1,-1e300}'"}, Remark: asPrint},
	{Type: "circle", Values: []string{"'<(1,2),3>'", "'<(1e300,-1e-300),0>'"}, Remark: asPrint},
	{Type: "tsvector", Values: []string{"'a:1A b'", "''", `$$'a\b' 'it''s':3A,4B,16383$$`}, Remark: asPrint},
	{Type: "pg_lsn", Values: []string{"'16/B374D848'", "'0/0'", "'FFFFFFFF/FFFFFFFF'"}, Remark: asPrint},
	{Type: "pg_snapshot", Values: []string{"'10:20:10,15'", "'10:10:'"}, Remark: asPrint + "; `txid_snapshot` alike"},
	{Type: "txid_snapshot", Values: []string{"'10:20:10,14,15'"}},
	{Type: "xid8", Values: []string{"'18446744073709551615'", "'0'"}, Remark: asPrint + "; `xid`, `cid` and `tid` alike"},
	{Type: "xid", Values: []string{"'4294967295'"}},
	{Type: "cid", Values: []string{"'4294967295'"}},
	{Type: "tid", Values: []string{"'(4294967294,65535)'", "'(0,0)'"}},
	{Type: "int2vector", Values: []string{"'1 2'", "''", "'-32768 32767'"}, JSON: ownText, Remark: asPrint + "; `oidvector` alike"},
	{Type: "oidvector", Values: []string{"'1 4294967295'"}, JSON: ownText},
	{Type: "refcursor", Values: []string{"'c'"}},
	{Type: "citext", Needs: "citext", Kind: "extension", Values: []string{"'Text'", "''", "'É漢'"}, Remark: "as `text`"},
	{Type: "hstore", Needs: "hstore", Kind: "extension", Values: []string{"'a=>1,b=>NULL'", "''", `$$"a \"b"=>"c,\\d", "é"=>"=>"$$`}, Remark: asPrint},
	{Type: "ltree", Needs: "ltree", Kind: "extension", Values: []string{"'a.b'", "''", "'Top.Science_1.x'"}, Remark: asPrint + "; `lquery`, `ltxtquery` alike"},
	{Type: "lquery", Needs: "ltree", Values: []string{"'a.*{1,2}.!b|c%'"}},
	{Type: "ltxtquery", Needs: "ltree", Values: []string{"'a & !b*'"}},
	{Type: "geometry(Point,4326)", Needs: "postgis", Kind: "extension", Values: []string{"'SRID=4326;POINT(1 2)'", "'SRID=4326;POINT EMPTY'"}, Remark: "EWKB in hexadecimal, as PostGIS prints it; `geography` alike"},
	{Type: "geometry(Point,4326)", Needs: "postgis", Kind: "extension", Rule: "geometry: ewkb", Values: []string{"'SRID=4326;POINT(1 2)'", "'SRID=4326;POINT EMPTY'"}, JSON: asEWKB, Remark: "exact: the bytes of `ST_AsEWKB`, with SRID, Z and M"},
	{Type: "geometry", Needs: "postgis", Values: []string{"'POINT ZM(1 2 3 -0)'", "'SRID=3857;GEOMETRYCOLLECTION Z(POINT Z(1 2 3), MULTIPOINT Z(1 2 3, 4 5 6))'", "'POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))'", "'GEOMETRYCOLLECTION EMPTY'"}},
	{Type: "geography", Needs: "postgis", Values: []string{"'POINT(13.4 52.5)'", "'SRID=4326;LINESTRING Z(0 0 1, 90 45 2)'"}},
}

// moments are what hudi-rs does not read from log files.
var moments = []Column{
	{
		Type: "moments", Kind: "composite: since timestamptz, noted timestamp", JSON: asMoments,
		Values: []string{"('2026-11-05 07:08:09.5+02', '2026-11-05 07:08:09.5')", "'(,)'", "('9999-12-31 23:59:59.999999+00', '0002-01-01 00:00')"},
		Remark: "a struct, as `pair`; hudi-rs does not read it [from log files](readers.md#what-to-know)",
	},
}

var vectors = []Column{
	{Type: "vector(3)", Needs: "vector", Kind: "extension", Values: []string{"'[1,2.5,-3]'", "'[1e38,-1e-40,0.1]'"}, Remark: "exact, as pgvector prints it; `halfvec`, `sparsevec` alike"},
	{Type: "vector(3)", Needs: "vector", Kind: "extension", Rule: "vectors: list", Values: []string{"'[1,2.5,-3]'", "'[1e38,-1e-40,0.1]'"}, JSON: asFloats, Remark: "exact; `halfvec` alike; `sparsevec` stays text"},
	{Type: "halfvec", Needs: "vector", Values: []string{"'[65504,-6.1035156e-05,5.9604645e-08]'"}},
	{Type: "halfvec", Needs: "vector", Rule: "vectors: list", Values: []string{"'[65504,-6.1035156e-05,0.1]'"}, JSON: asFloats},
	{Type: "sparsevec", Needs: "vector", Values: []string{"'{1:1.5,3:-2e-10}/5'", "'{}/1'"}},
}

// text are types that PostgreSQL has no binary form of that is exact to read: their stream is text.
var text = []Column{
	{Type: "nothing", Kind: "composite without attributes", Values: []string{"'()'"}, JSON: ownText, Remark: "neither Parquet nor Spark has a struct without fields: text"},
	{Type: "xml", Values: []string{"'<a>é</a>'", "''", `'<?xml version="1.0" standalone="yes"?><a b="c"/>'`}, Remark: asPrint},
	{Type: "tsquery", Values: []string{"'a & !b'", "'a & (b | !c:AB*)'", "'a <2> b'"}, Remark: asPrint},
	{Type: "money", Values: []string{"12.34", "-92233720368547758.08", "92233720368547758.07"}, Remark: asPrint + ", by the database's lc_monetary"},
	{Type: "regclass", Values: []string{"'pg_class'", "'0'"}, Remark: "the name that it has when the change is read; all `reg…` types alike"},
	{Type: "regtype", Values: []string{"'int4'", "'numeric[]'"}},
	{Type: "regproc", Values: []string{"'now'"}},
	{Type: "regprocedure", Values: []string{"'lower(text)'"}},
	{Type: "regoper", Values: []string{"'||/'"}},
	{Type: "regoperator", Values: []string{"'+(integer,integer)'"}},
	{Type: "regrole", Values: []string{"current_user::regrole"}},
	{Type: "regnamespace", Values: []string{"'pg_catalog'"}},
	{Type: "regconfig", Values: []string{"'english'"}},
	{Type: "regdictionary", Values: []string{"'simple'"}},
	{Type: "regcollation", Values: []string{`'"C"'`}},
	{Type: "money[]", Values: []string{"array[1.5::money, null]"}},
	{Type: "cube", Needs: "cube", Kind: "extension", Values: []string{"'(1,2)'", "'(1,2),(3,4)'", "'(0.1)'"}, Remark: "every other type, of any extension: " + asPrint},
}
