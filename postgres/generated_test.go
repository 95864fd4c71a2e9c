package postgres_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestGenerated has columns that the server computes. Where it can publish them, those that
// it stores are columns like any other; else they are left out. No UPDATE of the application
// fails for it, under any replica identity, also where a column comes while the table is read.
func TestGenerated(t *testing.T) {
	t.Parallel()
	for _, v := range pgtest.Versions(t) {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t, v).NewDatabase(t)
			stored := `CREATE TABLE %s (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 10) STORED, v text)`
			db.Exec(t, fmt.Sprintf(stored, "t"), fmt.Sprintf(stored, "whole"), `ALTER TABLE whole REPLICA IDENTITY FULL`,
				`CREATE TABLE keyed (id int, k int GENERATED ALWAYS AS (id + 1) STORED PRIMARY KEY)`)
			names := []string{"t", "whole", "keyed"}
			if v >= 18 {
				db.Exec(t, `CREATE TABLE virtual (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 10) VIRTUAL, v text)`,
					`CREATE TABLE wholly (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 10) VIRTUAL, v text)`, `ALTER TABLE wholly REPLICA IDENTITY FULL`)
				names = append(names, "virtual", "wholly")
			}
			for _, name := range names {
				db.Exec(t, `INSERT INTO `+name+` (id) VALUES (1)`)
			}
			f := open(t, db, postgres.Options{}).begin()
			want := map[string][]string{ // the copy, the stream
				"t": {"r 1|NULL", "u 1|x\nd 1|NULL\nu> 2|x"}, "whole": {"r 1|NULL", "u 1|x\nd 1|NULL\nu> 2|x"}, "keyed": {"r 1", "c 7"},
			}
			if v >= 18 {
				want = map[string][]string{
					"t": {"r 1|10|NULL", "u 1|10|x\nd 1|NULL|NULL\nu> 2|20|x"}, "whole": {"r 1|10|NULL", "u 1|10|x\nd 1|NULL|NULL\nu> 2|20|x"},
					"keyed": {"r 1|2", "d NULL|2\nu> 5|6\nc 7|8"}, "virtual": {"r 1|NULL", "u 1|x\nd 1|NULL\nu> 2|x"}, "wholly": {"r 1|NULL", ""},
				}
			}
			for _, name := range names {
				expect(t, name, texts(f.copied(name)), want[name][0])
			}
			f.stream()
			for _, name := range names {
				if name == "keyed" {
					db.Exec(t, `UPDATE keyed SET id = 5`, `INSERT INTO keyed VALUES (7)`)
				} else {
					db.Exec(t, `UPDATE `+name+` SET v = 'x'`, `UPDATE `+name+` SET id = 2`)
				}
			}
			rows, failures := f.drain()
			if len(failures) > 0 {
				t.Fatal(failures[0].Err)
			}
			for _, name := range names {
				expect(t, name, texts(rows[name]), want[name][1])
			}
			left := problems(t, postgres.Options{URL: db.URL, Pipeline: "other"})
			if said := strings.Contains(left, "public.t: generated columns are not in the log and are left out: n"); said != (v < 18) {
				t.Errorf("check says:\n%s", left)
			}
			if v < 18 {
				return
			}
			wants(t, left, "public.virtual: generated columns", "public.wholly: it lands append-only", "virtual generated columns")
			db.Exec(t, `ALTER TABLE whole ADD w int GENERATED ALWAYS AS (id) VIRTUAL`)
			awaitUpdate(t, db, `UPDATE whole SET v = 'y'`)
		})
	}
}

// awaitUpdate waits until the server lets a statement pass again.
func awaitUpdate(t *testing.T, db *pgtest.Database, sql string) {
	t.Helper()
	conn := db.Conn(t)
	tick := time.NewTicker(20 * time.Millisecond) // keys are looked at every three seconds
	defer tick.Stop()
	for ; t.Context().Err() == nil; <-tick.C {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			return
		} else if !strings.Contains(err.Error(), "cannot update table") {
			t.Fatal(err)
		}
	}
}
