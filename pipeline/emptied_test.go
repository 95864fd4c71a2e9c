package pipeline_test

import "testing"

// TestBadLoad empties a table and loads it anew by one transaction, of several chunks, with a value at its
// end that has no place in the lake: readers go on to see the rows of before.
func TestBadLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, d date, v text)", "insert into t values (1, '2026-01-01', 'a'), (2, '2026-01-01', 'b')")
	r.drain()
	r.db.Exec(t, "insert into t values (3, '2026-01-01', 'c')") // is forgotten with the round
	tx, err := r.db.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"truncate t", "insert into t select i, '2026-01-01', repeat('x', 4000) from generate_series(10, 6000) i", "insert into t values (9000, 'infinity', 'bad')",
	} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.stopped(r.once(), "public.t", "infinity", "copied anew")
	if got := r.column("t", "id"); got != "1 2" {
		t.Errorf("the lake shows %q", got)
	}
}
