package postgres_test

import (
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestSizesOfLockedTables has tables locked as VACUUM FULL and REINDEX lock them: how large they are is told
// without a wait, about, and of the others exactly.
func TestSizesOfLockedTables(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, "CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY HASH (id)", "CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
		"CREATE TABLE left_out (id int)")
	for _, table := range []string{"free", "held", "indexed", "part"} {
		if table != "part" {
			db.Exec(t, "CREATE TABLE "+table+" (id int PRIMARY KEY, v text)")
		}
		db.Exec(t, "ALTER TABLE "+table+" ALTER v SET STORAGE EXTERNAL", "INSERT INTO "+table+" SELECT i, repeat('x', 4000) FROM generate_series(1, 300) i")
	}
	db.Exec(t, "VACUUM ANALYZE")
	f := open(t, db, postgres.Options{Match: func(_, table string) bool { return table != "left_out" }})
	before := map[string]int64{}
	for name, v := range f.tables {
		before[name] = v.Bytes
	}
	if len(before) != 4 {
		t.Errorf("sizes of %v", before)
	}
	if _, err := db.Conn(t).Exec(t.Context(), "BEGIN; LOCK TABLE held, part, left_out; REINDEX TABLE indexed"); err != nil {
		t.Fatal(err)
	}
	f.look()
	for name, bytes := range before {
		now := f.tables[name].Bytes
		if bytes < 1_200_000 || now > bytes || now < bytes*9/10 || name == "free" && now != bytes {
			t.Errorf("%s has %d bytes, and was said to have %d", name, bytes, now)
		}
	}
	if _, err := f.PlanCopy(t.Context(), f.tables["held"], 1<<20); err == nil || !postgres.Retryable(err) {
		t.Errorf("the plan of a table that is locked: %v", err)
	}
	if _, err := f.PlanCopy(t.Context(), f.tables["free"], 1<<20); err != nil {
		t.Error(err)
	}
}
