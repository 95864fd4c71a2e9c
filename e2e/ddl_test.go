package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// ddl are 30 changes of a table, in their order, none of which makes the load's statements
// fail; those of the short test are marked.
var ddl = []struct {
	sql   string
	short bool
}{
	{sql: `alter table %s add a1 int`},
	{sql: `alter table %s add a2 int default 7`, short: true},
	{sql: `alter table %s add a3 text not null default 'x'`, short: true},
	{sql: `alter table %s add a4 double precision default random()`, short: true},
	{sql: `alter table %s add constraint positive check (n >= 0)`},
	{sql: `alter table %s rename a1 to b1`},
	{sql: `alter table %s drop a2`, short: true},
	{sql: `alter table %s add a2 text`},
	{sql: `alter table %s alter w type varchar(20)`, short: true},
	{sql: `alter table %s alter v type text using v || '!'`, short: true},
	{sql: `alter table %s alter w type text`},
	{sql: `alter table %s alter b1 type bigint`},
	{sql: `alter table %s alter a4 type numeric(12,2) using a4`},
	{sql: `vacuum full %s`},
	{sql: `alter table %s alter a4 type numeric(13,2)`},
	{sql: `alter table %s add a5 jsonb default '{"a":1}'`},
	{sql: `alter table %s alter a5 set not null`},
	{sql: `alter table %s drop a5`},
	{sql: `alter table %s add a6 serial`},
	{sql: `alter table %s rename v to vv`},
	{sql: `alter table %s rename vv to v`},
	{sql: `alter table %s alter n type bigint`},
	{sql: `alter table %s add a7 mood default 'sad'`},
	{sql: `alter type mood rename value 'sad' to 'blue'`},
	{sql: `alter table %s drop constraint positive`},
	{sql: `alter table %s drop constraint %[1]s_pkey, add primary key (id, tag)`},
	{sql: `alter table %s add a8 timestamptz default now()`},
	{sql: `alter table %s drop a3`},
	{sql: `alter table %s alter a8 drop default`},
	{sql: `alter table %s add a9 bytea default '\x00'`, short: true},
}

// ddlLoad is what pgbench does meanwhile.
const ddlLoad = `\set id random(1, 3000)
\set gone random(1, 3000)
\set n random(0, 1000000)
BEGIN;
UPDATE mor SET n = :n WHERE id = :id;
INSERT INTO mor (id, n) VALUES (:id, :n) ON CONFLICT DO NOTHING;
UPDATE cow SET n = n + 1, w = 'w' || (n % 10) WHERE id = :id;
INSERT INTO cow (id, n) VALUES (:id, :n) ON CONFLICT DO NOTHING;
DELETE FROM mor WHERE id = :gone;
INSERT INTO other (n) VALUES (:n);
COMMIT;
`

// TestDDLLong changes tables under load, under each policy, with kills in between: what a
// person has taken on in the end equals the source, each change is logged once, and no other
// table waits.
func TestDDLLong(t *testing.T) {
	long.Test(t)
	ddlUnderLoad(t, true, 6*time.Second)
}

// TestDDLSoak makes all 30 changes.
func TestDDLSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	ddlUnderLoad(t, false, 90*time.Second)
}

func ddlUnderLoad(t *testing.T, short bool, lasts time.Duration) {
	t.Parallel()
	for _, policy := range []string{"evolve", "freeze", "pause"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			ddlPolicy(t, policy, short, lasts)
		})
	}
}

func ddlPolicy(t *testing.T, policy string, short bool, lasts time.Duration) {
	db := pgtest.NewDatabase(t)
	db.Exec(t, `create type mood as enum ('sad')`, `create table other (id serial primary key, n int)`)
	for _, table := range []string{"mor", "cow"} {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, tag text not null default 'a', n int, v text default 'v', w varchar(10))`, table),
			fmt.Sprintf(`insert into %s (id, n) select i, i from generate_series(1, 2000) i`, table))
	}
	l := laketest.New(t, db.URL, `      - match: public.cow
        table_type: copy_on_write
      - match: public.*`, "    commit_interval: 200ms\n    schema: "+policy)
	l.Run(0, "run", "--once")
	load := startPgbench(t, db, lasts)
	r := startRun(t, l)
	began, changes := time.Now(), 0
	for i, c := range ddl {
		if short && !c.short {
			continue
		}
		for _, table := range []string{"mor", "cow"} {
			if strings.Contains(c.sql, "%") {
				db.Exec(t, fmt.Sprintf(c.sql, table))
			} else if table == "mor" {
				db.Exec(t, c.sql)
			}
		}
		if changes++; changes%4 == 3 { // at any moment of what the change has begun
			<-time.After(time.Duration(i*37%400) * time.Millisecond)
			r.kill()
			<-r.done
			r = startRun(t, l)
		}
		if !short {
			<-time.After(lasts * 9 / 10 / time.Duration(len(ddl)))
		}
	}
	t.Logf("%s: %d changes of each of two tables in %s", policy, changes, time.Since(began).Round(time.Second))
	if out, err := load(); err != nil {
		t.Fatalf("pgbench: %v\n%s", err, out)
	}
	r.check()
	t.Cleanup(func() {
		if t.Failed() {
			r.kill()
			<-r.done
			t.Log(r.out.String())
		}
	})
	applied := ddlSettle(t, l)
	r.check()
	l.Run(0, "validate")
	r.stop()
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
	t.Logf("%s: applied %d times, logged %d changes", policy, applied, ddlLogged(t, l))
	if policy == "evolve" && applied > 0 {
		t.Error("a person was needed")
	}
}

// startPgbench starts the load; the function that is returned waits for its end.
func startPgbench(t *testing.T, db *pgtest.Database, lasts time.Duration) func() (string, error) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "load.sql")
	if err := os.WriteFile(script, []byte(ddlLoad), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), db.Server.Bin("pgbench"), "-n", "-c", "2", "-R", "100", "-T", strconv.Itoa(int(lasts.Seconds())), "-f", script, db.URL)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		err := cmd.Wait()
		return out.String(), err
	}
}

// ddlPlan is what `schema plan --json` prints, as far as it is needed.
type ddlPlan []struct {
	Tables []struct {
		Table  string
		Waits  string
		Action string
	}
}

// ddlSettle applies what waits for a person until the lake is as the source, and returns how
// often that was needed.
func ddlSettle(t *testing.T, l *laketest.Lake) (applied int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var asked time.Time
	for {
		var plan ddlPlan
		if err := json.Unmarshal([]byte(l.Run(0, "schema", "plan", "--json")), &plan); err != nil {
			t.Fatal(err)
		}
		waits, left := false, false
		for _, table := range plan[0].Tables {
			waits = waits || table.Waits != ""
			left = left || table.Waits != "" || table.Action != "nothing"
		}
		text := l.Run(0, "status")
		recorded := strings.Contains(text, "its schema the lake has not taken on")
		streams := strings.Count(text, "  streaming ") == 3
		if !left && streams {
			return applied
		}
		if (waits || recorded && streams) && time.Since(asked) > 5*time.Second {
			l.Run(0, "schema", "apply")
			applied++
			asked = time.Now()
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it does not settle: %+v\n%s", plan, text)
		}
	}
}

// ddlLogged is how many changes the logs have; one that is there twice fails the test.
func ddlLogged(t *testing.T, l *laketest.Lake) (n int) {
	t.Helper()
	var logs []struct {
		Table  string
		Events []struct{ LSN, Kind, Text, Decision string }
	}
	if err := json.Unmarshal([]byte(l.Run(0, "schema", "log", "--json", "public.mor", "public.cow")), &logs); err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		seen := map[string]bool{}
		for _, e := range log.Events {
			if e.Kind == "" {
				continue
			}
			if seen[e.LSN+e.Text] {
				t.Errorf("%s: %s at %s is logged twice", log.Table, e.Text, e.LSN)
			}
			seen[e.LSN+e.Text] = true
			n++
		}
	}
	if n == 0 {
		t.Error("nothing is logged")
	}
	return n
}
