package postgres_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// postgis are values of PostGIS, which the Debian package of version 15 has.
var postgis = []typeCase{
	{"geometry", "", []string{
		"'POINT(1 2)'", "'SRID=4326;POINT(13.4 52.5)'", "'POINT EMPTY'", "'POINT ZM(1 2 3 4)'", "'POINT M(1 2 -0)'",
		"'LINESTRING(0 0, 1e300 -1e-300)'", "'POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))'", "'GEOMETRYCOLLECTION EMPTY'",
		"'SRID=3857;GEOMETRYCOLLECTION Z(POINT Z(1 2 3), MULTIPOINT Z(1 2 3, 4 5 6))'", "'CIRCULARSTRING(0 0, 1 1, 1 0)'",
		"'CURVEPOLYGON(CIRCULARSTRING(0 0, 4 0, 4 4, 0 4, 0 0))'", "'TIN(((0 0,0 1,1 0,0 0)))'", "st_makepoint('NaN', 'Infinity')",
		"(select st_makeline(st_makepoint(i, 1.0 / i)) from generate_series(1, 5000) i)",
	}},
	{"geometry(Point,4326)", "", []string{"'SRID=4326;POINT(13.4 52.5)'"}},
	{"geography", "", []string{"'POINT(13.4 52.5)'", "'SRID=4326;LINESTRING Z(0 0 1, 90 45 2)'"}},
	{"geometry[]", "array_to_json(%s::text[])::text", []string{"array['POINT(1 2)'::geometry, null, 'POINT EMPTY']"}},
	{"place", "", []string{"row('here', 'SRID=4326;POINT(1 2)')::place"}},
	{"geom_domain", "", []string{"'POINT(1 2)'"}},
}

// boxes are types of PostGIS that no rule knows.
var boxes = []typeCase{
	{"box2d", "", []string{"'BOX(1 2,3 4.5)'"}},
	{"box3d", "", []string{"'BOX3D(1 2 3,4 5 6.25)'"}},
}

// pgvector are values of pgvector, which wheels of versions 16 and 18 have.
var pgvector = []typeCase{
	{"vector", "", []string{"'[1,2.5,-0]'", "'[1e38,-1e-40,1.17549435e-38,16777216,123456789,0.1]'", "'[1e6,999999,1e-5,0.0001,3.4028235e38]'", "array_fill(0.1::float4, array[2000])::vector"}},
	{"vector(3)", "", []string{"'[1,2,3]'"}},
	{"halfvec", "", []string{"'[1,2.5,-0]'", "'[65504,-6.1035156e-05,5.9604645e-08,6.097555e-05,0.1,1e-9]'", "'[0.3333,2047,2049,1000000e-3]'"}},
	{"sparsevec", "", []string{"'{1:1.5,3:-2e-10}/5'", "'{}/1'", "'{1000000000:1}/1000000000'"}},
	{"vector[]", printJSON, []string{"array['[1,2]'::vector, null, '[3]']"}},
}

// contrib are values of what we read in binary of PostgreSQL's own extensions; %[1]s is where they are.
var contrib = []typeCase{
	{"%[1]s.citext", "", []string{"''", "'É漢 Text'", `E'a\\b"c\n'`, "'NULL'"}},
	{"%[1]s.hstore", "", []string{"''", "'a=>1,b=>NULL,c=>\"NULL\"'", `$$"a \"b"=>"c,\\d", "é"=>"=>", ""=>""$$`, "(SELECT string_agg(i || '=>x', ',') FROM generate_series(1, 300) i)::%[1]s.hstore"}},
	{"%[1]s.ltree", "", []string{"''", "'a'", "'Top.Science_1.x'", "(SELECT string_agg('l' || i, '.') FROM generate_series(1, 300) i)::%[1]s.ltree"}},
	{"%[1]s.lquery", "", []string{"'a.*{1,2}.!b|c%%'", "'*.A@.b*'"}},
	{"%[1]s.ltxtquery", "", []string{"'a & !b*'", "'(a | b%%) & c@'"}},
	{"%[1]s.citext[]", printTexts, []string{`ARRAY['a,"b', NULL]::%[1]s.citext[]`, "'{}'"}},
	{"%[1]s.hstore[]", printTexts, []string{`ARRAY['a=>"b,c"', NULL]::%[1]s.hstore[]`}},
	{"%[1]s.ltree[]", printTexts, []string{"'{{a.b},{c}}'"}},
	{"tagged", "", []string{`ROW('n', 'a=>"b c"', 'x.y')`, "ROW(NULL, NULL, NULL)"}},
	{"label", "", []string{"'a.b'"}},
}

// printTexts prints an array's elements as their text: array_to_json may ask a cast of the extension's.
const printTexts = `array_to_json(%s::text[])::text`

// unknown are types of extensions that no rule knows: each lands as its text.
var unknown = []typeCase{
	{"cube", "", []string{"'(1,2),(3,4)'", "'(0.1)'"}},
	{"seg", "", []string{"'1.50 .. 2.5'", "'~5'"}},
	{"isbn", "", []string{"'0-393-04002-X'"}},
	{"ean13", "", []string{"'978-0-393-04002-9'"}},
	{"query_int", "", []string{"'(1 | 2) & !3'"}},
	{"cube[]", printJSON, []string{"array['(1,2)'::cube, null]"}},
}

// withExtension is a database of a server of that version with the extension. Where the variable CI
// is set it must be there.
func withExtension(t *testing.T, version int, extensions ...string) *pgtest.Database {
	t.Helper()
	db := pgtest.Shared(t, version).NewDatabase(t)
	for _, x := range extensions {
		if db.Query(t, "SELECT count(*) FROM pg_available_extensions WHERE name = '"+x+"'")[0][0] == "0" {
			ci.Missing(t, "PostgreSQL %d lacks the extension %s: `make setup` installs it", version, x)
		}
		db.Exec(t, "CREATE EXTENSION "+x)
	}
	return db
}

// sameThreeWays compares what copy, stream (in binary, but for types that have no form of that) and stream as text give for
// the cases under the rules with what PostgreSQL prints, or, for a column that lands otherwise, with each other.
func sameThreeWays(t *testing.T, db *pgtest.Database, cases []typeCase, rules postgres.TableTypes, own map[string]string, binary bool) []row {
	t.Helper()
	insert, print := typeTable(t, db, "x", cases)
	db.Exec(t, insert)
	want := db.Query(t, print)
	types := func(string, string) postgres.TableTypes { return rules }
	var said watchedLog
	f := open(t, db, postgres.Options{Types: types, Logger: slog.New(slog.NewTextHandler(&said, nil))}).begin()
	copied := f.copied("x")
	for i, c := range cases { // what has a form of its own is compared below
		if arrow := fmt.Sprint(f.tables["x"].Columns[i+1].Arrow); arrow != "utf8" {
			if arrow != own[c.typ] {
				t.Errorf("%s is %s, want %q", c.typ, arrow, own[c.typ])
			}
			for r := range want {
				want[r][i+1] = copied[r].values[i+1]
			}
		} else if own[c.typ] != "" {
			t.Errorf("%s is text, want %s", c.typ, own[c.typ])
		}
	}
	compare(t, "copy", cases, copied, want)
	f.stream()
	if said.count(fmt.Sprintf("binary=%t", binary)) != 1 {
		t.Errorf("the stream is not in the form that it should have, binary %t:\n%s", binary, said.String())
	}
	db.Exec(t, "DELETE FROM x", insert)
	rows, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	compare(t, "stream", cases, rows["x"][len(want):], want)
	g := open(t, db, postgres.Options{Text: true, Types: types})
	g.start = f.start
	closeFeed(t, f)
	rows, _ = g.stream().drain()
	compare(t, "stream as text", cases, rows["x"][len(want):], want)
	return copied
}

var postgisSetup = []string{"CREATE TYPE place AS (name text, at geometry)", "CREATE DOMAIN geom_domain AS geometry(Point)"}

// TestPostGIS lands geometries as PostGIS prints them, and by rule as EWKB.
func TestPostGIS(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string]postgres.TableTypes{
		"text": {Composites: postgres.CompositeText}, "ewkb": {Geometry: postgres.GeometryEWKB, Arrays: postgres.ArrayText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := withExtension(t, 15, "postgis")
			db.Exec(t, postgisSetup...)
			if name == "text" {
				sameThreeWays(t, db, postgis, rules, nil, true)
				return
			}
			cases := slices.DeleteFunc(slices.Clone(postgis), func(c typeCase) bool { return c.typ == "geometry[]" })
			copied := sameThreeWays(t, db, cases, rules, map[string]string{
				"geometry": "binary", "geometry(Point,4326)": "binary", "geography": "binary", "geom_domain": "binary",
				"place": "struct<name: utf8 nullable, at: binary nullable>",
			}, true)
			for i, want := range db.Query(t, `SELECT '\x' || encode(st_asewkb(c0), 'hex') FROM x ORDER BY id LIMIT 14`) {
				if got := copied[i].values[1]; got != want[0] {
					t.Errorf("row %d is %.200s, want %.200s", i, got, want[0])
				}
			}
		})
	}
}

// TestPostGISBoxes lands what no rule knows of PostGIS as text.
func TestPostGISBoxes(t *testing.T) {
	t.Parallel()
	sameThreeWays(t, withExtension(t, 15, "postgis"), boxes, postgres.TableTypes{}, nil, false)
}

// TestPgvector lands vectors as pgvector prints them, and by rule as lists of float32.
func TestPgvector(t *testing.T) {
	t.Parallel()
	for _, version := range []int{16, 18} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			if _, err := pgserver.Find(version); err != nil {
				ci.Missing(t, "%v", err)
			}
			sameThreeWays(t, withExtension(t, version, "vector"), knownVectors(t, version), postgres.TableTypes{}, nil, true)
			db := withExtension(t, version, "vector")
			own := map[string]string{"vector": "list<element: float32, nullable>", "vector(3)": "list<element: float32, nullable>", "halfvec": "list<element: float32, nullable>"}
			copied := sameThreeWays(t, db, knownVectors(t, version), postgres.TableTypes{Vectors: postgres.VectorList}, own, true)
			for i, want := range db.Query(t, "SELECT array_to_string(c0::real[], ' ') FROM x ORDER BY id LIMIT 4") {
				sameFloats(t, copied[i].values[1], want[0])
			}
		})
	}
}

// knownVectors are the cases whose types this version's pgvector has.
func knownVectors(t *testing.T, version int) []typeCase {
	t.Helper()
	db := withExtension(t, version, "vector")
	return slices.DeleteFunc(slices.Clone(pgvector), func(c typeCase) bool {
		return db.Query(t, "SELECT to_regtype('"+c.typ+"') IS NULL")[0][0] == "t"
	})
}

func sameFloats(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Fields(strings.NewReplacer("[", "", "]", "", `"`, "").Replace(got)), strings.Fields(want)
	if len(g) != len(w) {
		t.Fatalf("%d numbers, want %d", len(g), len(w))
	}
	for i := range w {
		a, err1 := strconv.ParseFloat(g[i], 32)
		b, err2 := strconv.ParseFloat(w[i], 32)
		if err1 != nil || err2 != nil || float32(a) != float32(b) {
			t.Errorf("number %d is %s, want %s", i, g[i], w[i])
		}
	}
}

// TestKnownExtensions lands citext, hstore and ltree as they print, from binary and from text, wherever the extensions are.
func TestKnownExtensions(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"public", `"Own schema"`} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDatabase(t)
			db.Exec(t, "CREATE SCHEMA IF NOT EXISTS "+schema)
			for _, x := range []string{"citext", "hstore", "ltree"} {
				if db.Query(t, "SELECT count(*) FROM pg_available_extensions WHERE name = '"+x+"'")[0][0] == "0" {
					ci.Missing(t, "PostgreSQL lacks the extension %s: `make setup` installs it", x)
				}
				db.Exec(t, "CREATE EXTENSION "+x+" SCHEMA "+schema)
			}
			db.Exec(t, fmt.Sprintf("CREATE TYPE tagged AS (name %[1]s.citext, tags %[1]s.hstore, at %[1]s.ltree)", schema), "CREATE DOMAIN label AS "+schema+".ltree")
			cases := slices.Clone(contrib)
			for i := range cases {
				if !strings.Contains(cases[i].typ, "%[1]s") {
					continue
				}
				cases[i].typ, cases[i].values = fmt.Sprintf(cases[i].typ, schema), slices.Clone(cases[i].values)
				for v, value := range cases[i].values {
					cases[i].values[v] = strings.NewReplacer("%[1]s", schema, "%%", "%").Replace(value)
				}
			}
			sameThreeWays(t, db, cases, postgres.TableTypes{Composites: postgres.CompositeText}, nil, true)
		})
	}
}

// TestUnknownExtensions lands types that nobody told us of as text.
func TestUnknownExtensions(t *testing.T) {
	t.Parallel()
	db := withExtension(t, 15, "cube", "seg", "isn", "intarray")
	sameThreeWays(t, db, unknown, postgres.TableTypes{}, nil, false)
}
