package parity_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// TestSparkHarms lets Spark do to Lakefeed's tables what docs/spark-writers.md warns
// of. Lakefeed removes a metadata table, and refuses another such table by its name and with
// the way out, loses no change of it, and goes on with the others.
func TestSparkHarms(t *testing.T) {
	engines := parity.Engines(t)
	db := pgtest.NewDatabase(t)
	tables := []string{"calm", "listed_120", "listed_015", "upgraded", "archived_120", "archived_015", "kept_120", "kept_015", "undone_120", "undone_015", "misnamed"}
	for _, table := range tables {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, v text)`, table),
			fmt.Sprintf(`insert into %s select i, 'first' from generate_series(1, 20) i`, table))
	}
	l := laketest.New(t, db.URL, `      - match: public.*
        buckets: 2`, "")
	l.Run(0, "run", "--once")
	for _, table := range tables {
		db.Exec(t, fmt.Sprintf(`update %s set v = 'changed' where id < 10`, table))
	}
	l.Run(0, "run", "--once")

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("spark", func(t *testing.T) {
		for _, release := range []string{"1.2.0", "0.15.0"} {
			t.Run(release, func(t *testing.T) {
				t.Parallel()
				harm(t, l, parity.Spark(t, release))
			})
		}
	})
	if t.Failed() {
		return
	}

	for _, table := range tables {
		db.Exec(t, fmt.Sprintf(`update %s set v = 'later' where id < 3`, table), fmt.Sprintf(`insert into %s values (30, 'late')`, table))
	}
	out := lakefeedFails(t, l, []int{1, 4}, "run", "--once")
	for table, want := range map[string]string{
		"archived_120": "hoodie.archive.automatic=false", "archived_015": "hoodie.archive.automatic=false",
		"undone_015": "rolled commits back", "upgraded": `table version "9"`,
	} {
		if !regexp.MustCompile(`tables? [^:\n]*public\.` + table + `[^:\n]*: .*` + want).MatchString(out) {
			t.Errorf("%s is not refused by name and with %s:\n%s", table, want, out)
		}
	}
	for _, table := range []string{"calm", "listed_120", "listed_015", "kept_120", "kept_015", "misnamed", "undone_120"} {
		inStep(t, db, l, table)
	}
	for _, table := range []string{"listed_120", "listed_015"} {
		if !regexp.MustCompile(`(?m)^.*removed the metadata table, .*table=public\.` + table + `.* parts=\S*files`).MatchString(out) {
			t.Errorf("no line tells that the metadata table of %s is removed:\n%s", table, out)
		}
	}
	for _, e := range engines {
		if e.Hudi() == "0.15.0" {
			continue // it knows no version 9
		}
		rows, err := e.Read(t.Context(), folder(l, "upgraded"), parity.Read{NoMeta: true})
		must(err)
		if len(rows) != 20 {
			t.Errorf("%s: %d rows in the upgraded table", e, len(rows))
		}
	}

	// The ways out.
	for _, table := range []string{"archived_120", "archived_015", "undone_015"} {
		must(os.RemoveAll(folder(l, table)))
	}
	_, err := parity.Spark(t, "1.2.0").SQL(t.Context(), folder(l, "upgraded"), "call downgrade_table(table => '{t}', to_version => 'SIX')", nil)
	must(err)
	l.Run(0, "run", "--once")
	for _, table := range tables {
		inStep(t, db, l, table)
	}
}

// harmer is a Spark that writes to tables as it should not.
type harmer struct {
	t     *testing.T
	lake  *laketest.Lake
	spark *parity.Engine
}

// write upserts a row as it is.
func (h harmer) write(table string, opts parity.Options) error {
	h.t.Helper()
	one := byID(h.t, lakefeedRows(h.t, folder(h.lake, "calm"), parity.Read{NoMeta: true}), "1").String()
	return h.spark.WriteExactly(h.t.Context(), folder(h.lake, table), "upsert", []string{one}, opts)
}

// refused checks that the properties guard against an option.
func (h harmer) refused(table, option, value string) {
	h.t.Helper()
	if err := h.write(table, parity.Options{option: value}); err == nil || !strings.Contains(err.Error(), option) {
		h.t.Errorf("%s=%s, against the table's properties, was not refused: %v", option, value, err)
	}
}

func (h harmer) mustWrite(table string, opts parity.Options) {
	h.t.Helper()
	if err := h.write(table, opts); err != nil {
		h.t.Fatalf("%s: %v", table, err)
	}
}

// harm does what docs/spark-writers.md warns of, where the properties do not keep Spark from it.
func harm(t *testing.T, l *laketest.Lake, spark *parity.Engine) {
	h, suffix := harmer{t, l, spark}, "_120"
	if spark.Hudi() == "0.15.0" {
		suffix = "_015"
	}
	h.refused("listed"+suffix, "hoodie.metadata.enable", "true")
	dropOptions(t, folder(l, "listed"+suffix))
	opts := sparkOptions("listed"+suffix, "id", 2)
	opts["hoodie.metadata.enable"] = "true"
	h.mustWrite("listed"+suffix, opts)

	archiving := parity.Options{
		"hoodie.keep.min.commits": "2", "hoodie.keep.max.commits": "3",
		"hoodie.clean.commits.retained": "1", "hoodie.cleaner.commits.retained": "1",
	}
	dropOptions(t, folder(l, "archived"+suffix))
	opts = sparkOptions("archived"+suffix, "id", 2)
	delete(opts, "hoodie.archive.automatic")
	maps.Copy(opts, archiving)
	for range 4 {
		h.mustWrite("kept"+suffix, archiving)
		h.mustWrite("archived"+suffix, opts)
	}

	// A commit of Lakefeed's is taken back. Hudi 1.2 fails: it looks for the timeline of newer versions.
	undone := folder(l, "undone"+suffix)
	_, err := spark.SQL(t.Context(), undone, fmt.Sprintf("call rollback_to_instant(table => '{t}', instant_time => '%s')", newestInstant(t, undone)), sparkOptions("undone"+suffix, "id", 2))
	if fails := spark.Hudi() == "1.2.0"; (err != nil) != fails {
		t.Errorf("rollback_to_instant: %v", err)
	}

	if spark.Hudi() == "1.2.0" {
		h.refused("misnamed", "hoodie.table.name", "another")
		h.refused("upgraded", "hoodie.write.auto.upgrade", "true")
		dropOptions(t, folder(l, "upgraded"))
		opts = sparkOptions("upgraded", "id", 2)
		delete(opts, "hoodie.write.auto.upgrade")
		delete(opts, "hoodie.write.table.version")
		h.mustWrite("upgraded", opts)
	}
}
