package postgres_test

import (
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// signals reads up to a message sent now, and returns the signals that came.
func (f *feed) signals() (out []change.Signal) {
	f.t.Helper()
	if _, err := f.Emit(f.t.Context(), "signals"); err != nil {
		f.t.Fatal(err)
	}
	for {
		chunk, err := f.Next(f.t.Context(), 0)
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, chunk.Signals...)
		for _, b := range chunk.Batches {
			if b.Table.Name == "signals" {
				f.t.Error("the signal table is read as a table")
			}
		}
		for _, m := range chunk.Messages {
			if string(m.Content) == "signals" {
				return out
			}
		}
	}
}

// TestSignals reads signals of a table of any column types, in binary and as text, in their places.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		db := pgtest.NewDatabase(t)
		db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `CREATE TABLE signals (more int, data jsonb, id uuid PRIMARY KEY, type varchar(32))`)
		f := open(t, db, postgres.Options{
			Text: text, SignalTable: [2]string{"public", "signals"},
			Match: func(_, table string) bool { return table != "signals" },
		}).begin().stream()
		const id = "11111111-2222-3333-4444-555555555555"
		db.Exec(t, `BEGIN; INSERT INTO t VALUES (1); INSERT INTO signals VALUES (1, '{"a": [1]}', '`+id+`', 'log'); COMMIT`,
			`BEGIN; INSERT INTO signals VALUES (1, '{}', gen_random_uuid(), 'gone'); ROLLBACK`,
			`UPDATE signals SET type = 'other'`, `DELETE FROM signals`, `TRUNCATE signals`, `INSERT INTO signals (id) VALUES ('`+id+`')`)
		got := f.signals()
		if len(got) != 2 {
			t.Fatalf("%+v", got)
		}
		if s := got[0]; s.ID != id || s.Type != "log" || s.Data != `{"a": [1]}` || s.At.Index != 1 || s.Err != nil {
			t.Errorf("%+v", s)
		}
		if s := got[1]; s.ID != id || s.Type != "" || s.Data != "" || s.At.Commit <= got[0].At.Commit || s.Err != nil {
			t.Errorf("%+v", s)
		}
		// A change of the table while it is read.
		db.Exec(t, `ALTER TABLE signals DROP COLUMN data`, `INSERT INTO signals (id) VALUES (gen_random_uuid())`,
			`ALTER TABLE signals ADD COLUMN data text`, `INSERT INTO signals (id, type, data) VALUES (gen_random_uuid(), 'log', 'x')`)
		if got = f.signals(); len(got) != 2 || got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "no column data") || got[1].Data != "x" {
			t.Errorf("%+v", got)
		}
	}
}

// TestCheckSignals says what is wrong with the signal table.
func TestCheckSignals(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	opts := postgres.Options{URL: db.URL, Pipeline: db.Name, SignalTable: [2]string{"public", "signals"}, Match: func(_, table string) bool { return table == "t" }}
	wants(t, problems(t, opts), `error public.signals: the signal table is not there`, `[CREATE TABLE "public"."signals" (id varchar(42)`)
	open(t, db, opts).prepare() // which it stops as little as what follows
	db.Exec(t, `CREATE TABLE signals (id text)`)
	wants(t, problems(t, opts), `error public.signals: the signal table has no column type [ALTER TABLE "public"."signals" ADD COLUMN "type" text]`, `has no column data`)
	db.Exec(t, `DROP TABLE signals`, `CREATE TABLE signals (id text, type text, data text)`)
	expect(t, "as it should be", problems(t, opts), "")
}
