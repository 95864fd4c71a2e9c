package postgres_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// leaves are the partitions of a table as a look has them, by their names.
func (f *feed) leaves(table string) (map[string]change.Leaf, *change.Look, *change.Table) {
	f.t.Helper()
	look, err := f.Look(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(look.Tables, func(v *change.Table) bool { return v.Name == table })
	if i < 0 {
		f.t.Fatalf("no table %s", table)
	}
	out := map[string]change.Leaf{}
	for _, l := range look.Tables[i].Leaves {
		out[strings.TrimPrefix(l.Name, "public.")] = l
	}
	return out, look, look.Tables[i]
}

// TestLeaves tells partitions that were made from those that were attached, and those that
// kept rows from those that were emptied, on all versions.
func TestLeaves(t *testing.T) {
	t.Parallel()
	for _, v := range pgtest.Versions(t) {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t, v).NewDatabase(t)
			db.Exec(t, `CREATE TABLE root (id int PRIMARY KEY, n int DEFAULT 5 CHECK (n > 0), v text) PARTITION BY RANGE (id)`,
				`CREATE TABLE made PARTITION OF root FOR VALUES FROM (0) TO (10)`, `CREATE TABLE rest PARTITION OF root DEFAULT`,
				`CREATE TABLE tree PARTITION OF root FOR VALUES FROM (10) TO (20) PARTITION BY HASH (id)`, `CREATE TABLE leaf PARTITION OF tree FOR VALUES WITH (MODULUS 1, REMAINDER 0)`,
				`BEGIN`, `CREATE TABLE filled AS SELECT 20 AS id, 1 AS n, 'x' AS v`, `ALTER TABLE filled ADD PRIMARY KEY (id), ADD CONSTRAINT root_n_check CHECK (n > 0)`, `ALTER TABLE root ATTACH PARTITION filled FOR VALUES FROM (20) TO (30)`, `COMMIT`,
				`INSERT INTO root SELECT i FROM generate_series(0, 12) i`, `ALTER TABLE made OWNER TO postgres`, `ALTER TABLE root ADD w int DEFAULT 7`)
			f := open(t, db, postgres.Options{})
			leaves, look, root := f.leaves("root")
			for name, whole := range map[string]bool{"made": true, "rest": true, "leaf": true, "filled": false} {
				if l, ok := leaves[name]; !ok || l.Whole != whole {
					t.Errorf("%s: %+v", name, l)
				}
			}
			if c := root.Columns[3]; c.Missing == nil || c.Missing.ValueStr(0) != "7" {
				t.Errorf("the value of older rows is %v", c.Missing)
			}
			if look.Before == 0 || look.Before > look.At || look.Horizon == 0 {
				t.Errorf("look %+v", look)
			}
			has := func(name string, before uint64) bool {
				t.Helper()
				has, err := f.HasRows(t.Context(), leaves[name], before)
				if err != nil {
					t.Fatal(err)
				}
				return has
			}
			if !has("made", 0) || has("rest", 0) || !has("made", look.Horizon) {
				t.Error("rows are there, or not")
			}
			db.Exec(t, `VACUUM (FREEZE, FULL) made`, `TRUNCATE leaf`, `INSERT INTO root VALUES (10)`)
			if !has("made", look.Horizon) || has("leaf", look.Horizon) || !has("leaf", 0) || has("leaf", look.Horizon+1<<40) {
				t.Error("what was emptied cannot be told")
			}
			now, _, _ := f.leaves("root")
			if now["made"].Storage == leaves["made"].Storage || now["made"].Link != leaves["made"].Link {
				t.Errorf("%+v, was %+v", now["made"], leaves["made"])
			}
			db.Exec(t, `ALTER TABLE root DETACH PARTITION tree`, `ALTER TABLE root ATTACH PARTITION tree FOR VALUES FROM (10) TO (20)`)
			if now, _, _ = f.leaves("root"); now["leaf"].Link == leaves["leaf"].Link || now["leaf"].Whole {
				t.Errorf("%+v, was %+v", now["leaf"], leaves["leaf"])
			}
			lock := db.Conn(t)
			if _, err := lock.Exec(t.Context(), `BEGIN; LOCK TABLE made`); err != nil {
				t.Fatal(err)
			}
			if _, err := f.HasRows(t.Context(), leaves["made"], 0); err == nil {
				t.Error("it does not say that the partition is locked")
			}
			if _, err := f.HasRows(t.Context(), change.Leaf{ID: 1, Name: "gone"}, 0); err == nil {
				t.Error("it does not say that the partition is gone")
			}
		})
	}
}

// TestBounds asks the source which rows belong to which partition, by keys of any type.
func TestBounds(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TYPE mood AS ENUM ('sad', 'glad')`, `CREATE TABLE day (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d)`, `CREATE TABLE one PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`, `CREATE TABLE other PARTITION OF day DEFAULT`,
		`CREATE TABLE moment ("n j" int, at timestamptz, PRIMARY KEY ("n j", at)) PARTITION BY RANGE (at, "n j")`, `CREATE TABLE first PARTITION OF moment FOR VALUES FROM ('2026-01-01 00:00+00', 5) TO ('2026-01-02 00:00+00', MINVALUE)`,
		`CREATE TABLE word (w text COLLATE "C", m mood, b bytea, PRIMARY KEY (w, m, b)) PARTITION BY RANGE (w)`, `CREATE TABLE upper PARTITION OF word FOR VALUES FROM ('A') TO ('a') PARTITION BY LIST (m)`,
		`CREATE TABLE sad PARTITION OF upper FOR VALUES IN ('sad') PARTITION BY RANGE (b)`, `CREATE TABLE low PARTITION OF sad FOR VALUES FROM (MINVALUE) TO ('\x80')`,
		`CREATE TABLE hashed (id int PRIMARY KEY) PARTITION BY HASH (id)`, `CREATE TABLE odd PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0)`, `CREATE TABLE even PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
		`INSERT INTO hashed SELECT generate_series(1, 20)`, `CREATE TABLE lowered (w text) PARTITION BY LIST (lower(w))`, `CREATE TABLE a PARTITION OF lowered FOR VALUES IN ('a')`)
	f := open(t, db, postgres.Options{})
	cases := []struct {
		root, leaf, columns, in string
		rows                    [][]string
	}{
		{"day", "one", "d", "true true false false", [][]string{{"2026-01-01"}, {"2026-01-31"}, {"2026-02-01"}, {"0001-01-01"}}},
		{"day", "other", "", "", nil},
		{"moment", "first", "at n j", "true false false", [][]string{{"2026-01-01 00:00:00+00", "5"}, {"2026-01-01 00:00:00+00", "4"}, {"2026-01-02 00:00:00.000001+00", "9"}}},
		{"word", "low", "b m w", "true false false false", [][]string{{`\x7f`, "sad", "Zoo"}, {`\x80`, "sad", "Zoo"}, {`\x00`, "glad", "Zoo"}, {`\x00`, "sad", `"a'\é`}}},
		{"lowered", "a", "", "", nil},
	}
	var hashed [][]string
	var in []string
	for _, row := range db.Query(t, `SELECT id, tableoid = 'odd'::regclass FROM hashed ORDER BY id`) {
		hashed, in = append(hashed, row[:1]), append(in, row[1])
	}
	cases = append(cases, struct {
		root, leaf, columns, in string
		rows                    [][]string
	}{"hashed", "odd", "id", strings.ReplaceAll(strings.ReplaceAll(strings.Join(in, " "), "t", "true"), "f", "false"), hashed})
	for _, c := range cases {
		leaves, _, root := f.leaves(c.root)
		bounds, err := f.Bounds(t.Context(), []uint32{leaves[c.leaf].ID})
		if err != nil {
			t.Fatal(err)
		}
		b, ok := bounds[leaves[c.leaf].ID]
		if slices.Sort(b.Columns); ok != (c.rows != nil) || strings.Join(b.Columns, " ") != c.columns {
			t.Errorf("%s: %+v", c.leaf, b)
		}
		if !ok {
			continue
		}
		db.Exec(t, `DROP TABLE `+c.leaf)
		got, err := f.Within(t.Context(), root, b, c.rows)
		if text := strings.Trim(fmt.Sprint(got), "[]"); err != nil || text != c.in {
			t.Errorf("%s: %s, not %s, %v", c.leaf, text, c.in, err)
		}
	}
	_, _, root := f.leaves("day")
	if _, err := f.Within(t.Context(), root, change.Bound{Condition: "d = '2026-01-01'", Columns: []string{"d"}}, [][]string{{"no date"}}); err == nil {
		t.Error("a value that is none is taken")
	}
}
