package parity_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// metaColumns are those that Hudi puts before a table's own.
var metaColumns = []string{"_hoodie_commit_time", "_hoodie_commit_seqno", "_hoodie_record_key", "_hoodie_partition_path", "_hoodie_file_name"}

// plainChanges are what Spark makes of a table's columns without schema evolution on read.
var plainChanges = []string{
	"alter table {} add columns (more string, place struct<city: string>)",
	"insert into {} (id, v, n, s, ts, more, place) select 20, 'new', 5, named_struct('x', 9), 3, 'm', named_struct('city', 'Oslo')",
	"update {} set more = 'later' where id in (1, 11)",
}

// historyChanges are those with it: files of before are then read by the numbers of
// their columns, which the table's commits and .hoodie/.schema tell.
var historyChanges = []string{
	"alter table {} rename column v to name",
	"update {} set name = 'renamed' where id = 1",
}

// TestSparksEvolutions lets Spark change the columns of tables that it made, with and
// without its schema evolution on read, and compares after each statement what it reads
// with what we read.
func TestSparksEvolutions(t *testing.T) {
	parity.Engines(t)
	for _, release := range []string{"1.2.0", "0.15.0"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for _, typ := range []string{"cow", "mor"} {
				for how, changes := range map[string][]string{"plain": plainChanges, "history": historyChanges} {
					t.Run(typ+" "+how, func(t *testing.T) { sparksEvolution(t, parity.Spark(t, release), typ, how, changes) })
				}
			}
		})
	}
}

func sparksEvolution(t *testing.T, spark *parity.Engine, typ, how string, changes []string) {
	path := filepath.Join(t.TempDir(), "grown")
	name := fmt.Sprintf("grown_%s_%s_%s", typ, how, strings.ReplaceAll(spark.Hudi(), ".", ""))
	opts := maps.Clone(madeOptions)
	if how == "history" {
		opts["hoodie.schema.on.read.enable"] = "true"
		opts["hoodie.datasource.write.schema.allow.auto.evolution.column.drop"] = "true" // Hudi 1.2 takes a new name for one
	}
	do := func(statement string) []string {
		t.Helper()
		rows, err := spark.SQL(t.Context(), "", strings.ReplaceAll(statement, "{}", name), opts)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return rows
	}
	do(`create table {} (id int, v string, n int, s struct<x: int>, ts bigint) using hudi location '` + path + `'
		tblproperties (type = '` + typ + `', primaryKey = 'id', preCombineField = 'ts', 'hoodie.datasource.write.payload.class' = 'org.apache.hudi.common.model.OverwriteWithLatestAvroPayload',
		'hoodie.record.merge.mode' = 'COMMIT_TIME_ORDERING', 'hoodie.write.table.version' = '6', 'hoodie.metadata.enable' = 'false')`)
	do("insert into {} select id, concat('v', id), id * 2, named_struct('x', id), 1 from range(20)")
	do("update {} set v = 'second' where id > 10")
	for _, statement := range changes {
		do(statement)
		if d := parity.Diff(do("select * from {}"), lakefeedRows(t, path, parity.Read{NoMeta: true}), metaColumns...); d != "" {
			t.Fatalf("after %s: %s", statement, d)
		}
	}
	last := lakefeedRows(t, path, parity.Read{NoMeta: true})
	rows, err := parity.HudiRS(t).Read(t.Context(), path, parity.Read{NoMeta: true})
	t.Logf("hudi-rs: %v %s", err, parity.Diff(last, rows))
	if how == "plain" {
		goOnAfterSpark(t, path)
	}
}

// goOnAfterSpark adds a column of our own.
func goOnAfterSpark(t *testing.T, path string) {
	t.Helper()
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, hudi.Options{Index: hudi.IndexSimple})
	if err != nil {
		t.Fatal(err)
	}
	next := arrow.NewSchema(append(table.Schema().Fields(), opt("ours", i32)), nil)
	x, err := table.Begin(t.Context(), hudi.TxnOptions{Schema: next})
	if err == nil {
		_, err = x.Commit(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	agreed(t, path, parity.Read{})
}
