package postgres_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// problems is Check's findings, one a line.
func problems(t *testing.T, opts postgres.Options) string {
	t.Helper()
	found, err := postgres.Check(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range found {
		severity := "warning"
		if p.Severity == postgres.Error {
			severity = "error"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s [%s]", severity, p.Table, p.What, p.Statement))
	}
	return strings.Join(lines, "\n")
}

func wants(t *testing.T, got string, lines ...string) {
	t.Helper()
	for _, w := range lines {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in:\n%s", w, got)
		}
	}
}

func TestCheckClean(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	opts := postgres.Options{URL: db.URL, Pipeline: db.Name}
	expect(t, "a database without faults", problems(t, opts), "")
	f := open(t, db, postgres.Options{}).begin().stream()
	wants(t, problems(t, opts), "warning : slot "+postgres.SlotName(db.Name)+" is read by process", "the pipeline runs")
	closeFeed(t, f)
	expect(t, "with its slot", problems(t, opts), "")
}

func TestCheckConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	with := func(change func(*url.URL)) postgres.Options {
		u, err := url.Parse(db.URL)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return postgres.Options{URL: u.String(), Pipeline: "p"}
	}
	secret := with(func(u *url.URL) { u.User = url.UserPassword("postgres", "s3cret") })
	got := problems(t, secret)
	wants(t, got, "does not accept the password of user postgres", "PGPASSWORD")
	if strings.Contains(got, "s3cret") {
		t.Error("the password is in the message")
	}
	closed := with(func(u *url.URL) { u.Host = "127.0.0.1:1" })
	wants(t, problems(t, closed), "no connection to 127.0.0.1:1", "connection refused")
	wants(t, problems(t, with(func(u *url.URL) { u.Path = "/nowhere" })), `database "nowhere" does not exist`)

	if _, err := postgres.Open(t.Context(), secret); err == nil || postgres.Retryable(err) {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := postgres.Open(t.Context(), closed); !postgres.Retryable(err) {
		t.Errorf("a closed port: %v", err)
	}
	if _, err := postgres.Check(t.Context(), postgres.Options{URL: db.URL}); err == nil {
		t.Error("no pipeline, and no error")
	}
}

func TestCheckRole(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `DROP ROLE IF EXISTS "Mere user"`, `CREATE ROLE "Mere user" LOGIN PASSWORD 'x'`,
		`CREATE TABLE t (id int PRIMARY KEY)`, `CREATE SCHEMA s`, `CREATE TABLE s.other (id int PRIMARY KEY)`,
		`CREATE TABLE r (id int PRIMARY KEY)`, `ALTER TABLE r ENABLE ROW LEVEL SECURITY`, `GRANT SELECT ON r TO "Mere user"`)
	t.Cleanup(func() { db.Exec(t, `DROP OWNED BY "Mere user"`, `DROP ROLE "Mere user"`) })
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("Mere user", "x")
	opts := postgres.Options{URL: u.String(), Pipeline: "p"}
	wants(t, problems(t, opts),
		`error : role Mere user may not read the log [ALTER ROLE "Mere user" REPLICATION]`,
		`[GRANT CREATE ON DATABASE "`+db.Name+`" TO "Mere user"]`,
		`error public.t: role Mere user may not read it [GRANT SELECT ON "public"."t" TO "Mere user"]`,
		`error public.t: role Mere user may not publish it: only its owner, postgres, may [GRANT "postgres" TO "Mere user"]`,
		`error s.other: role Mere user may not use schema s [GRANT USAGE ON SCHEMA "s" TO "Mere user"]`,
		`error public.r: row security hides rows of it from role Mere user [ALTER ROLE "Mere user" BYPASSRLS]`)

	// The statements mend it, but for the ownership, which publications made beforehand replace.
	db.Exec(t, `ALTER ROLE "Mere user" REPLICATION BYPASSRLS`, `GRANT USAGE ON SCHEMA s TO "Mere user"`, `GRANT SELECT ON ALL TABLES IN SCHEMA public, s TO "Mere user"`)
	owner := open(t, db, postgres.Options{})
	if owner.Connector, err = postgres.Open(t.Context(), postgres.Options{URL: db.URL, Pipeline: "p"}); err != nil {
		t.Fatal(err)
	}
	defer owner.Close(t.Context())
	owner.prepare()
	expect(t, "mended", problems(t, opts), "")
	c, err := postgres.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	tables, err := c.Tables(t.Context())
	if err == nil {
		_, err = c.Prepare(t.Context(), tables, nil) // there is nothing to alter
	}
	if err != nil {
		t.Error(err)
	}
}

// lateMend makes a key that is not deferrable of one that is.
const lateMend = `ALTER TABLE "public"."late" DROP CONSTRAINT "late_pkey", ADD CONSTRAINT "late_pkey" PRIMARY KEY ("B", "a")`

func TestCheckTables(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	wants(t, problems(t, postgres.Options{URL: db.URL, Pipeline: "p"}), "error : no table is taken")
	db.Exec(t, `CREATE TABLE none (a int)`, `CREATE TABLE late (a int, "B" int, PRIMARY KEY ("B", a) DEFERRABLE)`,
		`CREATE TABLE nothing (a int PRIMARY KEY)`, `ALTER TABLE nothing REPLICA IDENTITY NOTHING`,
		`CREATE TABLE g (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED)`,
		`CREATE TABLE root (a int) PARTITION BY HASH (a)`, `CREATE TABLE leaf PARTITION OF root FOR VALUES WITH (MODULUS 1, REMAINDER 0)`,
		`CREATE TABLE parent (a int PRIMARY KEY)`, `CREATE TABLE child (PRIMARY KEY (a)) INHERITS (parent)`, `CREATE TABLE "Other" (PRIMARY KEY (a)) INHERITS (parent)`,
		`CREATE UNLOGGED TABLE u (a int)`, `CREATE VIEW v AS SELECT 1 AS a`)
	wants(t, problems(t, postgres.Options{URL: db.URL, Pipeline: "p"}),
		`warning public.none: it lands append-only, its UPDATEs and DELETEs are not replicated: it has no primary key [ALTER TABLE "public"."none" ADD PRIMARY KEY (...)]`,
		`warning public.late: it lands append-only, its UPDATEs and DELETEs are not replicated: its primary key is deferrable [`+lateMend+`]`,
		`its replica identity is NOTHING [ALTER TABLE "public"."nothing" REPLICA IDENTITY DEFAULT]`,
		`warning public.g: generated columns are not in the log and are left out: b`,
		`warning public.root: it is partitioned and lands append-only`, `stay in the lake`,
		`warning public.parent: tables inherit from it (public.Other, public.child): `,
		`warning public.u: it is unlogged`, `[ALTER TABLE "public"."u" SET LOGGED]`,
		`warning public.v: it is a view`)
	db.Exec(t, lateMend)
	if got := problems(t, postgres.Options{URL: db.URL, Pipeline: "p"}); strings.Contains(got, "public.late") {
		t.Errorf("the statement did not mend it:\n%s", got)
	}
	got := problems(t, postgres.Options{URL: db.URL, Pipeline: "p", Match: func(_, table string) bool { return table == "g" }})
	if strings.Count(got, "\n") != 0 {
		t.Errorf("of other tables:\n%s", got)
	}
}

// TestCheckServer needs servers of its own: settings that only a start takes.
func TestCheckServer(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{Conf: map[string]string{
		"wal_level": "logical", "max_replication_slots": "2", "max_prepared_transactions": "2",
	}})
	db, other := s.NewDatabase(t), s.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	opts := postgres.Options{URL: db.URL, Pipeline: "p"}
	slot := postgres.SlotName("p")
	db.Exec(t, `SELECT pg_create_logical_replication_slot('a', 'pgoutput')`, `SELECT pg_create_logical_replication_slot('b', 'pgoutput')`)
	wants(t, problems(t, opts), "error : all 2 replication slots are taken [ALTER SYSTEM SET max_replication_slots = 4")
	db.Exec(t, `SELECT pg_drop_replication_slot('a')`, `BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'stuck'`)
	wants(t, problems(t, opts), "warning : a transaction is open (prepared transaction 'stuck'", "[ROLLBACK PREPARED 'stuck'")
	db.Exec(t, `ROLLBACK PREPARED 'stuck'`)

	other.Exec(t, `SELECT pg_create_logical_replication_slot('`+slot+`', 'pgoutput')`)
	wants(t, problems(t, opts), "error : slot "+slot+" belongs to database "+other.Name)
	other.Exec(t, `SELECT pg_drop_replication_slot('`+slot+`')`)
	db.Exec(t, `SELECT pg_create_logical_replication_slot('`+slot+`', 'test_decoding')`)
	wants(t, problems(t, opts), `its plugin is "test_decoding" and not pgoutput`)
	db.Exec(t, `SELECT pg_drop_replication_slot('`+slot+`')`, `SELECT pg_drop_replication_slot('b')`)

	f := open(t, db, postgres.Options{})
	f.prepare()
	var err error
	if f.start, err = f.CreateSlot(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.stream()
	closeFeed(t, f)
	// The server throws away the log that the slot needs.
	db.Exec(t, `ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`, `SELECT pg_reload_conf()`,
		`CREATE TABLE big AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 60000) i`, `SELECT pg_switch_wal()`, `CHECKPOINT`)
	wants(t, problems(t, postgres.Options{URL: db.URL, Pipeline: db.Name}), "is lost (", "[SELECT pg_drop_replication_slot('"+postgres.SlotName(db.Name)+"')]")
	if s, err := f.Slot(t.Context()); err != nil || !s.Lost || s.Why == "" {
		t.Errorf("slot %+v, %v", s, err)
	}
	if err := f.Stream(t.Context(), f.start); err == nil || postgres.Retryable(err) {
		t.Errorf("the stream of a lost slot: %v", err)
	}

	db.Exec(t, `SELECT pg_drop_replication_slot('`+postgres.SlotName(db.Name)+`')`, `ALTER SYSTEM SET wal_level = 'replica'`)
	if err := s.Stop("fast"); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	wants(t, problems(t, opts), "error : wal_level is replica", "[ALTER SYSTEM SET wal_level = 'logical'")
}
