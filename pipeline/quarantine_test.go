package pipeline_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

func quarantines(string, string) postgres.TableTypes {
	return postgres.TableTypes{OutOfRange: postgres.Quarantine}
}

// quarantined is the rows in a table's quarantine, "key column row", in the order of keys.
func (r *rig) quarantined(table string) string {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "_lakefeed/quarantine/public/"+table), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return "?"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var rows []string
	for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Columns: []string{"row_key", "column", "row"}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			rows = append(rows, rec.Column(0).ValueStr(i)+" "+rec.Column(1).ValueStr(i)+" "+rec.Column(2).ValueStr(i))
		}
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

func (r *rig) want(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// TestQuarantine puts the rows that do not fit aside, by copy and by stream, and takes
// them back as soon as they fit or are gone.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, d date, v text)", "create table log (d date)",
		"insert into t values (1, '2026-01-01', 'a'), (2, 'infinity', 'b'), (3, '2026-01-03', 'c'), (4, '-infinity', 'd')", "insert into log values ('infinity'), ('2026-01-01')")
	r.types = quarantines
	r.drain()
	r.want("copied", r.column("t", "id"), "1 3")
	r.want("put aside", r.quarantined("t"), `2 d {"id":"2","d":"infinity","v":"b"}`+"\n"+`4 d {"id":"4","d":"-infinity","v":"d"}`)
	r.equal(nil)
	r.db.Exec(t, "update t set d = 'infinity' where id = 1", "update t set d = '2026-02-02' where id = 2", "update t set v = 'e' where id = 4", "delete from t where id = 4",
		"insert into t values (5, 'infinity', 'x'), (6, '2026-01-06', 'y'), (7, 'infinity', 'z')", "update t set id = 70 where id = 7", "insert into log values ('-infinity'), ('2026-01-02')")
	r.drain()
	ids := strings.Fields(r.column("t", "id"))
	slices.Sort(ids)
	r.want("streamed", strings.Join(ids, " "), "2 3 6")
	r.want("put aside", r.quarantined("t"), `1 d {"id":"1","d":"infinity","v":"a"}`+"\n"+`5 d {"id":"5","d":"infinity","v":"x"}`+"\n"+`70 d {"id":"70","d":"infinity","v":"z"}`)
	if n := strings.Count(r.quarantined("log"), "infinity"); n != 2 {
		t.Errorf("%d rows of the log are put aside", n)
	}
	r.equal(nil)
	r.db.Exec(t, "begin; truncate t; insert into t values (5, '2026-01-01', 'x'), (8, 'infinity', 'y'); commit")
	r.drain()
	r.want("after the truncate", r.column("t", "id"), "5")
	r.want("put aside", r.quarantined("t"), `8 d {"id":"8","d":"infinity","v":"y"}`)
	r.db.Exec(t, "truncate t")
	r.drain()
	r.want("after a truncate alone", r.quarantined("t"), "")
	r.equal(nil)
}

// TestQuarantineKeys puts rows aside whose keys do not fit.
func TestQuarantineKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (d date primary key, v int)", "insert into t values ('infinity', 1), ('2026-01-01', 2)")
	r.types = quarantines
	r.drain()
	r.want("put aside", r.quarantined("t"), `%!["infinity"] d {"d":"infinity","v":"1"}`)
	r.equal(nil)
	r.db.Exec(t, "update t set v = 3 where d = 'infinity'", "update t set d = '-infinity' where v = 2", "insert into t values ('2026-01-02', 4)")
	r.drain()
	r.want("put aside", r.quarantined("t"), `%!["-infinity"] d {"d":"-infinity","v":"2"}`+"\n"+`%!["infinity"] d {"d":"infinity","v":"3"}`)
	r.equal(nil)
	r.db.Exec(t, "update t set d = '2026-01-01' where v = 2", "delete from t where d = 'infinity'")
	r.drain()
	r.want("put aside", r.quarantined("t"), "")
	r.equal(nil)
}

// TestQuarantineUnsent never fills a row with a value of another version than the one
// before: what a row in quarantine had is not known.
func TestQuarantineUnsent(t *testing.T) {
	t.Parallel()
	for _, spill := range []bool{false, true} {
		t.Run(fmt.Sprintf("spill=%t", spill), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "create table t (id int primary key, d date, body text)", "alter table t alter body set storage external",
				"insert into t select i, '2026-01-01', repeat('a', 5000) from generate_series(1, 6) i")
			r.types = quarantines
			if spill {
				r.mods = append(r.mods, func(o *options) { o.MemoryBudget = 1 })
			}
			r.drain()
			// Within a round: the body of row 1 changes with a date that does not fit, and then the date alone.
			r.db.Exec(t, "update t set d = 'infinity', body = repeat('b', 5000) where id = 1", "update t set d = '2026-01-02' where id = 1",
				"update t set d = 'infinity', body = repeat('b', 5000) where id = 2", "update t set d = '2026-01-02', id = 20 where id = 2",
				"update t set d = 'infinity' where id in (3, 4, 5)")
			r.drain()
			r.want("columns", r.asideColumns(), "1 body,20 body,3 d,4 d,5 d")
			// Over rounds.
			r.db.Exec(t, "update t set d = '2026-01-02' where id = 3", "update t set d = '2026-01-02', body = 'short' where id = 4", "update t set d = '2026-01-03', id = 50 where id = 5", "update t set d = '2026-01-04' where id = 6")
			r.drain()
			r.want("columns", r.asideColumns(), "1 body,20 body,3 body,50 body")
			ids := strings.Fields(r.column("t", "id"))
			slices.Sort(ids)
			r.want("in the table", strings.Join(ids, " "), "4 6")
			report, err := r.validation(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range report.Tables[0].Samples {
				if d.Kind != "in quarantine, though it fits" {
					t.Errorf("%+v", d)
				}
			}
			if report.Tables[0].Different != 4 {
				t.Errorf("%+v", report)
			}
			r.db.Exec(t, "update t set body = body || 'x' where id in (1, 3, 20)", "delete from t where id = 50")
			r.drain()
			r.want("columns", r.asideColumns(), "")
			r.equal(nil)
		})
	}
}

// asideColumns is "key column" of each row in quarantine, joined by commas.
func (r *rig) asideColumns() string {
	var out []string
	for line := range strings.Lines(r.quarantined("t")) {
		head, _, _ := strings.Cut(line, " {")
		out = append(out, head)
	}
	return strings.Join(out, ",")
}

// TestQuarantineDiesLong kills the pipeline at each of its phases: table and quarantine come
// out as the source has them.
func TestQuarantineDiesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, d date, v int)", "insert into t select i, '2026-01-01', 0 from generate_series(1, 20) i")
	r.types = quarantines
	r.drain()
	rng := rand.New(rand.NewPCG(7, 7))
	for try := range 16 {
		for range 8 {
			id, date := 1+rng.IntN(25), []string{"infinity", "2026-02-02"}[rng.IntN(2)]
			switch rng.IntN(4) {
			case 0:
				r.db.Exec(t, fmt.Sprintf("delete from t where id = %d", id))
			case 1:
				r.db.Exec(t, fmt.Sprintf("insert into t values (%d, '%s', %d) on conflict (id) do nothing", id, date, try))
			default:
				r.db.Exec(t, fmt.Sprintf("update t set d = '%s', v = %d where id = %d", date, try, id))
			}
		}
		lake := r.lake
		r.lake = storagetest.NewFaulty(lake, storagetest.Fault{At: 1 + rng.IntN(24), When: storagetest.Partly, Dead: true, Only: func(c storagetest.Call) bool {
			return strings.Contains(c.Name, "public/t")
		}})
		_ = r.once()
		r.lake = lake
		r.freeSlot()
	}
	r.drain()
	r.equal(nil)
	n := r.query("select count(*) from t where d = 'infinity'")
	if got := strconv.Itoa(strings.Count(r.quarantined("t"), "infinity")); got != n {
		t.Errorf("%s rows are in quarantine, %s do not fit", got, n)
	}
}
