package parity_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

func TestMain(m *testing.M) {
	os.Exit(parity.Main(func() int { return laketest.Main(func() int { return pgtest.Main(m) }) }))
}

// sameAsSource lets every engine read a table and compares it, column by column,
// with what PostgreSQL prints by a query that gives one JSON object a row.
func sameAsSource(t *testing.T, db *pgtest.Database, table, query string) {
	t.Helper()
	var want []string
	for _, row := range db.Query(t, query) {
		want = append(want, plainNumbers(t, row[0]))
	}
	answers, errs := readAll(t, table, parity.Read{NoMeta: true})
	for i, e := range parity.Engines(t) {
		rows, err := answers[i], errs[i]
		if err != nil {
			t.Errorf("%s: %v", e, err)
			continue
		}
		for i := range rows {
			rows[i] = plainNumbers(t, rows[i])
		}
		if d := parity.Diff(want, rows, parity.ExtraColumns...); d != "" {
			t.Errorf("%s, %s: %s", filepath.Base(table), e, d)
		}
	}
}

// plainNumbers prints floating-point numbers in one way: 100000.0 and 1e5 are 100000.
func plainNumbers(t *testing.T, row string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(row))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", row, err)
	}
	for k, x := range v {
		if n, ok := x.(json.Number); ok && strings.ContainsAny(n.String(), ".eE") {
			f, err := n.Float64()
			if err != nil {
				t.Fatal(err)
			}
			v[k] = json.Number(strconv.FormatFloat(f, 'f', -1, 64))
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPgbench is the main job: pgbench's tables, in both table types, copied,
// changed under load and brought up to date, equal PostgreSQL in every engine.
func TestPgbench(t *testing.T) { pgbenchTables(t, 1, 5) }

// TestPgbenchSoak is the same with a million accounts and half a minute of load.
func TestPgbenchSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	pgbenchTables(t, 10, 30)
}

func pgbenchTables(t *testing.T, scale, seconds int) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	pgbench(t, db, "-i", "-q", "-s", strconv.Itoa(scale))
	lakes := map[string]*laketest.Lake{}
	for _, typ := range []string{"merge_on_read", "copy_on_write"} {
		lakes[typ] = laketest.New(t, db.URL, "      - match: public.*\n        table_type: "+typ, "")
		lakes[typ].Run(0, "run", "--once")
	}
	pgbench(t, db, "-c", "4", "-T", strconv.Itoa(seconds), "-n")
	for _, l := range lakes {
		l.Run(0, "run", "--once")
		l.Run(0, "validate")
	}
	for table, columns := range map[string]string{
		"accounts": "aid,bid,abalance,filler", "branches": "bid,bbalance,filler",
		"tellers": "tid,bid,tbalance,filler", "history": "tid,bid,aid,delta,mtime,filler",
	} {
		var fields []string
		for c := range strings.SplitSeq(columns, ",") {
			value := c
			if c == "mtime" {
				value = `to_char(mtime, 'YYYY-MM-DD"T"HH24:MI:SS.US')`
			}
			fields = append(fields, fmt.Sprintf("'%s', %s", c, value))
		}
		for _, l := range lakes {
			sameAsSource(t, db, filepath.Join(l.Dir, "public", "pgbench_"+table),
				fmt.Sprintf("select json_build_object(%s) from pgbench_%s", strings.Join(fields, ", "), table))
		}
	}
}

func pgbench(t *testing.T, db *pgtest.Database, args ...string) {
	t.Helper()
	out, err := exec.Command(db.Server.Bin("pgbench"), append(args, db.URL)...).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
