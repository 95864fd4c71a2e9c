package parity_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// sparkOptions are those of docs/spark-writers.md for a table.
func sparkOptions(table, key string, buckets int) parity.Options {
	return parity.Options{
		"hoodie.table.name":                          table,
		"hoodie.datasource.write.recordkey.field":    key,
		"hoodie.datasource.write.precombine.field":   "_event_lsn",
		"hoodie.datasource.write.keygenerator.class": "org.apache.hudi.keygen.NonpartitionedKeyGenerator",
		"hoodie.index.type":                          "BUCKET",
		"hoodie.bucket.index.num.buckets":            strconv.Itoa(buckets),
		"hoodie.bucket.index.hash.field":             key,
		"hoodie.metadata.enable":                     "false",
		"hoodie.archive.automatic":                   "false",
		"hoodie.write.table.version":                 "6",
		"hoodie.write.auto.upgrade":                  "false",
	}
}

// sparkTable is a table that Spark changes, and how.
type sparkTable struct {
	name, kind, release, how string
	key                      string
	buckets                  int
}

func (s sparkTable) mor() bool { return s.kind != "cow" }

func sparkTables() (tables []sparkTable) {
	for release, short := range map[string]string{"1.2.0": "120", "0.15.0": "015"} {
		for _, s := range []sparkTable{
			{kind: "mor", how: "options"},
			{kind: "mor", how: "bare"},
			{kind: "mor", how: "sql"},
			{kind: "mor", how: "schedule"},
			{kind: "cow", how: "options"},
			{kind: "cow", how: "bare"},
			{kind: "cow", how: "sql"},
			{kind: "cow", how: "bloom"},
			{kind: "pair", how: "options"},
			{kind: "pair", how: "bare"},
		} {
			s.release, s.key, s.buckets = release, "id", 4
			s.name = fmt.Sprintf("%s_%s_%s", s.kind, s.how, short)
			switch s.kind {
			case "pair":
				s.key = "id,region"
			case "cow":
				s.buckets = 2
			}
			tables = append(tables, s)
		}
	}
	slices.SortFunc(tables, func(a, b sparkTable) int { return strings.Compare(a.name, b.name) })
	return tables
}

// TestSparkWrites lets Spark upsert into, delete from and compact tables of each
// kind, with the options of docs/spark-writers.md and with those alone that
// hoodie.properties holds. All readers agree on what came of it, validate finds
// exactly that, and Lakefeed goes on with the same tables.
func TestSparkWrites(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	tables := sparkTables()
	for _, s := range tables {
		db.Exec(t,
			fmt.Sprintf(`create table %s (id int, region text, n int, price numeric(12,4), wide numeric(24,6), at timestamptz, tags text[], raw bytea, body text, primary key (%s))`, s.name, s.key),
			fmt.Sprintf(`alter table %s alter body set storage external`, s.name),
			fmt.Sprintf(`insert into %s select i, 'r' || i %% 3, i, i * 1.1111 - 20, i * 1000000.000001, timestamptz '2026-01-02 03:04:05.678901+00' + i * interval '1 day', array['a', null, i::text],
				decode(md5(i::text), 'hex'), repeat(md5(i::text), 80) from generate_series(1, 40) i`, s.name))
	}
	db.Exec(t, `create table events (n int, what text)`, `insert into events select i % 5, 'first' from generate_series(1, 20) i`)
	l := laketest.New(t, db.URL, `      - match: public.cow_*
        table_type: copy_on_write
        buckets: 2
      - match: public.*
        buckets: 4`, "")
	l.Run(0, "run", "--once")
	for _, s := range tables {
		db.Exec(t, fmt.Sprintf(`update %s set n = n + 100, price = price - 0.5 where id <= 10`, s.name), fmt.Sprintf(`delete from %s where id = 40`, s.name))
	}
	db.Exec(t, `insert into events values (1, 'second'), (1, 'second')`)
	l.Run(0, "run", "--once")

	t.Run("spark", func(t *testing.T) {
		for _, release := range []string{"1.2.0", "0.15.0"} {
			t.Run(release, func(t *testing.T) {
				t.Parallel()
				for _, s := range tables {
					if s.release == release {
						t.Run(s.name, func(t *testing.T) { s.change(t, folder(l, s.name)) })
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	checkChanged(t, l, tables)
	for _, s := range tables {
		if plans := pending(t, folder(l, s.name)); len(plans) > 0 {
			t.Errorf("%s: Lakefeed left %v pending", s.name, plans)
		}
	}

	for _, s := range tables {
		db.Exec(t, s.mirror()...)
		db.Exec(t, // the values of body are not sent: they come from what Spark wrote
			fmt.Sprintf(`update %s set n = n + 1 where id in (1, 2, 9001) or id > 30`, s.name),
			fmt.Sprintf(`update %s set id = id + 500 where id in (9001, 12)`, s.name),
			fmt.Sprintf(`insert into %s (id, region, n) values (4, 'r1', 4), (9002, 'r2', 5)`, s.name))
	}
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
	for _, s := range tables {
		inStep(t, db, l, s.name)
		if s.mor() {
			compact(t, folder(l, s.name))
			optimized := agreed(t, folder(l, s.name), parity.Read{Mode: "read_optimized"})
			if d := parity.Diff(lakefeedRows(t, folder(l, s.name), parity.Read{NoMeta: true}), optimized); d != "" {
				t.Errorf("%s after a compaction: snapshot against read-optimized: %s", s.name, d)
			}
		}
	}
	inStep(t, db, l, "events")
	l.Run(0, "validate")
}

// change has Spark change a table: row 1 is changed, 9001 is new, 3 and 4 go.
func (s sparkTable) change(t *testing.T, path string) {
	before := agreed(t, path, parity.Read{})
	one := byID(t, before, "1").with("n", "1000").with("price", `"77.0001"`).with("tags", `"[\"spark\",null]"`)
	upsert := []string{one.String()}
	if s.how != "bloom" { // which would put a new key into any file group
		upsert = append(upsert, byID(t, before, "2").with("id", "9001").with("region", `"r1"`).String())
	}
	want := append(without(t, before, "1", "3", "4"), upsert...)
	e := parity.Spark(t, s.release)
	switch s.how {
	case "sql":
		s.changeBySQL(t, e, path)
	default:
		s.changeByRows(t, e, path, upsert, []string{byID(t, before, "3").String(), byID(t, before, "4").String()})
	}
	if d := parity.Diff(want, agreed(t, path, parity.Read{})); d != "" {
		t.Errorf("after Spark: %s", d)
	}
	if plans, err := filepath.Glob(filepath.Join(path, ".hoodie", "*.compaction.requested")); s.mor() && (err != nil || len(plans) != 1) {
		t.Errorf("compactions: %v, %v", plans, err)
	}
	props := properties(t, path)
	if props["hoodie.table.version"] != "6" || props["hoodie.table.metadata.partitions"] != "" {
		t.Errorf("Spark made it version %s with the metadata table %q", props["hoodie.table.version"], props["hoodie.table.metadata.partitions"])
	}
}

func (s sparkTable) changeByRows(t *testing.T, e *parity.Engine, path string, upsert, gone []string) {
	opts := parity.Options{}
	switch s.how {
	case "options", "schedule":
		opts = sparkOptions(s.name, s.key, s.buckets)
	case "bloom":
		opts["hoodie.index.type"] = "BLOOM"
		if err := e.WriteExactly(t.Context(), path, "upsert", upsert, opts); err == nil || !strings.Contains(err.Error(), "hoodie.index.type") {
			t.Errorf("another index than that of the properties: %v", err)
		}
		dropOptions(t, path)
		opts = sparkOptions(s.name, s.key, s.buckets)
		maps.DeleteFunc(opts, func(k, _ string) bool { return strings.Contains(k, "bucket") })
		opts["hoodie.index.type"] = "BLOOM" // it reads the filters in the base files' footers
	}
	write := func(op string, rows []string) {
		t.Helper()
		if err := e.WriteExactly(t.Context(), path, op, rows, opts); err != nil {
			t.Fatal(err)
		}
	}
	services := func(ops ...string) {
		t.Helper()
		for _, op := range ops {
			if _, err := e.SQL(t.Context(), path, fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}'%s)", op, s.serviceOptions()), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.mor() && s.how == "bare" {
		services("schedule", "run")
	}
	write("upsert", upsert)
	write("delete", gone)
	switch {
	case s.mor() && s.how == "options":
		services("schedule", "run")
	case s.how == "schedule":
		services("schedule")
		if plans := pending(t, path); len(plans) != 1 {
			t.Errorf("pending after a compaction was scheduled: %v", plans)
		}
	}
}

// dropOptions takes Spark's write options out of a table's properties, as CREATE
// TABLE of Hudi 0.15.0 does.
func dropOptions(t *testing.T, path string) {
	t.Helper()
	p := properties(t, path)
	maps.DeleteFunc(p, func(k, _ string) bool {
		return k == "hoodie.index.type" || k == "hoodie.metadata.enable" || k == "hoodie.archive.automatic" || strings.HasPrefix(k, "hoodie.bucket.") || strings.HasPrefix(k, "hoodie.write.")
	})
	store, err := file.Open(path)
	if err == nil {
		err = store.Put(t.Context(), ".hoodie/hoodie.properties", p.Format(time.Now()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serviceOptions are the options of CALL run_compaction.
func (s sparkTable) serviceOptions() string {
	o := "hoodie.compact.inline.max.delta.commits=1" // without it Spark waits for five
	if s.how == "bare" {
		return ", options => '" + o + "'"
	}
	o += ",hoodie.metadata.enable=false,hoodie.write.table.version=6,hoodie.write.auto.upgrade=false"
	if !strings.Contains(s.key, ",") {
		o += fmt.Sprintf(",hoodie.index.type=BUCKET,hoodie.bucket.index.num.buckets=%d,hoodie.datasource.write.recordkey.field=%s", s.buckets, s.key)
	}
	return ", options => '" + o + "'"
}

// changeBySQL registers the table in Spark's catalog, which rewrites its properties.
func (s sparkTable) changeBySQL(t *testing.T, e *parity.Engine, path string) {
	var opts parity.Options
	if s.release == "0.15.0" { // it has just dropped them from the properties
		opts = sparkOptions(s.name, s.key, s.buckets)
		delete(opts, "hoodie.table.name")
	}
	statements := []string{
		`update {t} set n = 1000, price = 77.0001, tags = '["spark",null]' where id = 1`,
		`insert into {t} select ` + s.columns(t, path) + ` from {t} where id = 2`,
		`delete from {t} where id in (3, 4)`,
	}
	if s.mor() {
		statements = append(statements, `call run_compaction(op => 'schedule', table => '{t}'`+s.serviceOptions()+`)`, `call run_compaction(op => 'run', table => '{t}'`+s.serviceOptions()+`)`)
	}
	for _, statement := range statements {
		if _, err := e.SQL(t.Context(), path, statement, opts); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// columns are the data columns, with those of the new row.
func (s sparkTable) columns(t *testing.T, path string) string {
	t.Helper()
	first := lakefeedRows(t, path, parity.Read{NoMeta: true}, "--limit", "1")[0]
	d := json.NewDecoder(strings.NewReader(first))
	var names []string
	for depth := 0; d.More() || depth == 0; {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		if depth == 0 {
			depth = 1
			continue
		}
		names = append(names, fmt.Sprint(token))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		switch name {
		case "id":
			names[i] = "9001"
		case "region":
			names[i] = "'r1'"
		default:
			names[i] = "`" + name + "`"
		}
	}
	return strings.Join(names, ", ")
}

// mirror does in the source what Spark did in the lake.
func (s sparkTable) mirror() []string {
	return []string{
		fmt.Sprintf(`insert into %[1]s select 9001, 'r1', n, price, wide, at, tags, raw, body from %[1]s where id = 2`, s.name),
		fmt.Sprintf(`update %s set n = 1000, price = 77.0001, tags = '{spark,null}' where id = 1`, s.name),
		fmt.Sprintf(`delete from %s where id in (3, 4)`, s.name),
	}
}

// checkChanged checks that validate finds what Spark changed and nothing else.
func checkChanged(t *testing.T, l *laketest.Lake, tables []sparkTable) {
	t.Helper()
	var report struct {
		Tables []struct {
			Table     string
			Different int64
			Error     string
			Samples   []struct{ Key, Kind string }
		}
	}
	out := l.Run(3, "validate", "--json")
	start := strings.IndexAny(out, "[{")
	var reports []json.RawMessage
	if err := json.Unmarshal([]byte(out[max(start, 0):]), &reports); err != nil {
		reports = []json.RawMessage{json.RawMessage(out[max(start, 0):])}
	}
	if err := json.Unmarshal(reports[0], &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range report.Tables {
		name := strings.TrimPrefix(r.Table, "public.")
		if name == "events" {
			if r.Different != 0 {
				t.Errorf("%s: %d rows differ", name, r.Different)
			}
			continue
		}
		found := map[string]string{}
		for _, s := range r.Samples {
			id := strings.TrimPrefix(strings.Split(s.Key, ",")[0], "id:")
			found[id] = s.Kind
		}
		want := map[string]string{"1": "different", "9001": "not in the source", "3": "missing in the lake", "4": "missing in the lake"}
		if strings.Contains(name, "bloom") {
			delete(want, "9001")
		}
		if r.Error != "" || r.Different != int64(len(want)) || !maps.Equal(found, want) {
			t.Errorf("%s: %d rows differ, %v, %s", name, r.Different, found, r.Error)
		}
	}
	if len(report.Tables) != len(tables)+1 {
		t.Errorf("%d tables were compared", len(report.Tables))
	}
}
