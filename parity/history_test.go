package parity_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// TestHistory reads tables as of each of Lakefeed's commits, and what changed since
// each: inserts, updates, deletes, an added column, a truncate and a compaction.
func TestHistory(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	tables := []string{"past_mor", "past_cow"}
	for _, table := range tables {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, v text)`, table),
			fmt.Sprintf(`insert into %s select i, 'first' from generate_series(1, 20) i`, table))
	}
	l := laketest.New(t, db.URL, `      - match: public.past_cow
        table_type: copy_on_write
      - match: public.*
        buckets: 2`, "")
	type moment struct {
		instant string
		rows    []string
	}
	moments := map[string][]moment{}
	for _, step := range [][]string{
		nil,
		{`update %s set v = 'changed' where id %% 2 = 0`, `delete from %s where id > 18`, `insert into %s values (100, 'new')`},
		{`alter table %s add column n int default 7`, `update %s set n = id where id < 5`, `insert into %s values (101, 'wide', 8)`},
		{"compact"},
		{`update %s set v = 'later' where id < 4`},
		{`truncate %s`, `insert into %s values (1, 'anew', 1), (2, 'anew', 2), (200, 'anew', 3)`},
		{`update %s set n = n + 1 where id < 3`},
		{`delete from %s where id = 2`},
	} {
		for _, table := range tables {
			for _, statement := range step {
				if statement == "compact" {
					compact(t, folder(l, table))
				} else {
					db.Exec(t, fmt.Sprintf(statement, table))
				}
			}
		}
		l.Run(0, "run", "--once")
		for _, table := range tables {
			rows, err := parity.Postgres(t.Context(), db.URL, table, nil)
			if err != nil {
				t.Fatal(err)
			}
			moments[table] = append(moments[table], moment{newestInstant(t, folder(l, table)), rows})
		}
	}
	for _, table := range tables {
		t.Run(table, func(t *testing.T) {
			path := folder(l, table)
			commitsHaveSchemas(t, path)
			for i, m := range moments[table] {
				if i > 0 && m.instant == moments[table][i-1].instant {
					continue // a compaction, and no table to compact
				}
				asOf(t, path, m.instant, m.rows)
			}
			changedSince(t, path, "19700101000000000")
			for _, m := range moments[table] {
				changedSince(t, path, m.instant)
			}
		})
	}
}

// asOf checks that every reader sees rows as of an instant.
func asOf(t *testing.T, path, instant string, want []string) {
	t.Helper()
	r := parity.Read{AsOf: instant, NoMeta: true}
	if d := parity.Diff(want, lakefeedRows(t, path, r), parity.ExtraColumns...); d != "" {
		t.Errorf("lakefeed, as of %s: %s", instant, d)
	}
	answers, errs := readAll(t, path, r)
	for i, e := range parity.Engines(t) {
		rows, err := answers[i], errs[i]
		if err != nil {
			t.Errorf("%s, as of %s: %v", e, instant, err)
			continue
		}
		except := parity.ExtraColumns
		if e.Hudi() == "" && !hasColumn(t, want, "n") { // it shows the past in today's columns
			except = append(slices.Clip(except), "n")
		}
		if d := parity.Diff(want, rows, except...); d != "" {
			t.Errorf("%s, as of %s: %s", e, instant, d)
		}
	}
}

func hasColumn(t *testing.T, rows []string, column string) bool {
	return len(rows) > 0 && parse(t, rows[0])[column] != nil
}

// changedSince checks that an incremental read has the rows whose newest change is
// later than an instant.
func changedSince(t *testing.T, path, begin string) {
	t.Helper()
	var want []string
	for _, text := range lakefeedRows(t, path, parity.Read{}) {
		var r struct {
			Time string `json:"_hoodie_commit_time"`
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if r.Time > begin {
			want = append(want, text)
		}
	}
	answers, errs := readAll(t, path, parity.Read{Begin: begin})
	for i, e := range parity.Engines(t) {
		if errs[i] != nil {
			t.Errorf("%s, since %s: %v", e, begin, errs[i])
		} else if d := parity.Diff(want, answers[i], "_hoodie_file_name"); d != "" {
			t.Errorf("%s, since %s: %s", e, begin, d)
		}
	}
}

// commitsHaveSchemas checks that each commit holds the schema without the meta
// columns, deletes and compactions too: without it Spark reads some tables wrongly.
func commitsHaveSchemas(t *testing.T, path string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, ".hoodie", "*commit"))
	if err != nil || len(files) < 5 {
		t.Fatalf("commits: %v, %v", files, err)
	}
	for _, file := range files {
		var commit struct{ ExtraMetadata map[string]string }
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &commit)
		}
		if err != nil {
			t.Fatal(err)
		}
		schema := commit.ExtraMetadata["schema"]
		if !strings.Contains(schema, `"_event_lsn"`) || strings.Contains(schema, `"_hoodie_`) {
			t.Errorf("%s has the schema %q", file, schema)
		}
	}
}

// newestInstant is a table's newest completed write.
func newestInstant(t *testing.T, path string) string {
	t.Helper()
	done := openTable(t, path).Timeline().Completed()
	return done[len(done)-1].Time
}
