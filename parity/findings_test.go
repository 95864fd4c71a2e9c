package parity_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi"
	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// TestFindings does to Lakefeed's tables what showed, on tables made by hand, what a
// writer must know of Spark: a folder without partition metadata, a wrong checksum, a
// row that is late by the ordering field, an upsert into a table without a key.
func TestFindings(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	names := []string{"bare", "summed", "late_120", "late_015"}
	for _, name := range names {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, v text)`, name), fmt.Sprintf(`insert into %s select i, 'first' from generate_series(1, 20) i`, name))
	}
	for _, name := range []string{"events_120", "events_015"} {
		db.Exec(t, fmt.Sprintf(`create table %s (n int, v text)`, name), fmt.Sprintf(`insert into %s select i %% 5, 'first' from generate_series(1, 20) i`, name))
	}
	l := laketest.New(t, db.URL, "      - match: public.*\n        buckets: 2", "")
	l.Run(0, "run", "--once")
	for _, name := range names {
		db.Exec(t, fmt.Sprintf(`update %s set v = 'second' where id < 10`, name))
	}
	l.Run(0, "run", "--once")
	t.Run("partition metadata", func(t *testing.T) { withoutPartitionMetadata(t, folder(l, "bare")) })
	t.Run("partition metadata of a partition", withoutMetadataOfPartition)
	t.Run("checksum", func(t *testing.T) { wrongChecksum(t, l, folder(l, "summed")) })
	for release, short := range map[string]string{"1.2.0": "_120", "0.15.0": "_015"} {
		spark := parity.Spark(t, release)
		t.Run("late row "+release, func(t *testing.T) { lateRow(t, spark, folder(l, "late"+short)) })
		t.Run("no key "+release, func(t *testing.T) { upsertWithoutKey(t, db, l, spark, "events"+short) })
	}
	l.Run(0, "run", "--once")
	l.Run(0, "validate", "public.events_120", "public.events_015")
}

// withoutPartitionMetadata: the file is in every table that Lakefeed makes. Without it
// Spark may see no row, and says nothing.
func withoutPartitionMetadata(t *testing.T, path string) {
	want := len(agreed(t, path, parity.Read{NoMeta: true}))
	if err := os.Remove(filepath.Join(path, ".hoodie_partition_metadata")); err != nil {
		t.Fatalf("Lakefeed wrote no partition metadata: %v", err)
	}
	_ = os.Remove(filepath.Join(path, "..hoodie_partition_metadata.crc")) // Hadoop's, where there is one
	for _, e := range parity.Engines(t) {
		rows, err := e.Read(t.Context(), path, parity.Read{NoMeta: true})
		t.Logf("%s reads %d of %d rows, %v", e, len(rows), want, err)
		if err != nil || len(rows) != want && (e.Hudi() == "" || len(rows) != 0) {
			t.Errorf("%s reads %d of %d rows, %v", e, len(rows), want, err)
		}
	}
	if rows := lakefeedRows(t, path, parity.Read{NoMeta: true}); len(rows) != want {
		t.Errorf("lakefeed reads %d of %d rows", len(rows), want)
	}
}

// withoutMetadataOfPartition: Spark sees no row of such a partition, and says nothing;
// lakefeed table check does.
func withoutMetadataOfPartition(t *testing.T) {
	path := optionsPart.make(t, false)
	if err := os.Remove(filepath.Join(path, "a=p0", ".hoodie_partition_metadata")); err != nil {
		t.Fatal(err)
	}
	for _, e := range parity.Engines(t) {
		want := 20
		if e.Hudi() != "" {
			want = 10 // those of the other partition
		}
		if rows, err := e.Read(t.Context(), path, parity.Read{NoMeta: true}); err != nil || len(rows) != want {
			t.Errorf("%s reads %d of 20 rows, want %d: %v", e, len(rows), want, err)
		}
	}
	if rows := lakefeedRows(t, path, parity.Read{NoMeta: true}); len(rows) != 20 {
		t.Errorf("lakefeed reads %d of 20 rows", len(rows))
	}
	out, err := laketest.Command(t.Context(), t, "table", "check", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a=p0/.hoodie_partition_metadata") {
		t.Errorf("check says %v\n%s", err, out)
	}
}

// wrongChecksum: Spark refuses such a table, and so does Lakefeed, whichever it reads or writes.
func wrongChecksum(t *testing.T, l *laketest.Lake, path string) {
	p := properties(t, path)
	right := p["hoodie.table.checksum"]
	put := func(sum string) {
		t.Helper()
		p["hoodie.table.checksum"] = sum
		store, err := file.Open(path)
		if err == nil {
			err = store.Put(t.Context(), ".hoodie/hoodie.properties", p.Format(time.Now()))
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(path, ".hoodie", ".hoodie.properties.crc")) // Hadoop's, where there is one
	}
	put(right + "1")
	for _, release := range []string{"1.2.0", "0.15.0"} {
		if _, err := parity.Spark(t, release).Read(t.Context(), path, parity.Read{}); err == nil || !strings.Contains(err.Error(), "hoodie.properties") {
			t.Errorf("Spark with Hudi %s: %v", release, err)
		}
	}
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hudi.Open(t.Context(), store, hudi.Options{}); !isCorrupt(err) || !strings.Contains(err.Error(), "hoodie.table.checksum") {
		t.Errorf("hudi.Open: %v", err)
	}
	if out := lakefeedFails(t, l, []int{4}, "run", "--once"); !strings.Contains(out, "public/summed: .hoodie/hoodie.properties is damaged: hoodie.table.checksum") {
		t.Errorf("run says\n%s", out)
	}
	put(right)
	want := agreed(t, path, parity.Read{})
	dropProperty(t, path, "hoodie.table.checksum") // none is no fault to anyone
	if d := parity.Diff(want, agreed(t, path, parity.Read{})); d != "" {
		t.Errorf("without a checksum: %s", d)
	}
}

func isCorrupt(err error) bool { _, ok := errors.AsType[*hudi.CorruptError](err); return ok }

// lateRow: in Lakefeed's tables the log's order is the truth. A row whose ordering value
// is less than that of the row before it wins, but for Hudi 0.15: where both stand in
// log files it reads the other one, and its compaction throws the late one away.
func lateRow(t *testing.T, spark *parity.Engine, path string) {
	name := filepath.Base(path)
	late := byID(t, lakefeedRows(t, path, parity.Read{NoMeta: true}), "3").with("v", `"late"`).with("_event_lsn", "1")
	if err := spark.WriteExactly(t.Context(), path, "upsert", []string{late.String()}, sparkOptions(name, "id", 2)); err != nil {
		t.Fatal(err)
	}
	reads := func(when, in015, others string) {
		t.Helper()
		answers, errs := readAll(t, path, parity.Read{NoMeta: true})
		for i, e := range parity.Engines(t) {
			want := others
			if e.Hudi() == "0.15.0" {
				want = in015
			}
			if errs[i] != nil {
				t.Errorf("%s %s: %v", e, when, errs[i])
			} else if got := byID(t, answers[i], "3").text("v"); got != want || len(answers[i]) != 20 {
				t.Errorf("%s %s: %d rows, the late one is %s, want %s", e, when, len(answers[i]), got, want)
			}
		}
		if got := byID(t, lakefeedRows(t, path, parity.Read{NoMeta: true}), "3").text("v"); got != others {
			t.Errorf("lakefeed %s: the late row is %s, want %s", when, got, others)
		}
	}
	reads("before a compaction", `"second"`, `"late"`)
	s := sparkTable{name: name, key: "id", buckets: 2}
	for _, op := range []string{"schedule", "run"} {
		if _, err := spark.SQL(t.Context(), path, fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}'%s)", op, s.serviceOptions()), nil); err != nil {
			t.Fatal(err)
		}
	}
	if plans := pending(t, path); len(plans) != 0 {
		t.Fatalf("pending after the compaction: %v", plans)
	}
	if spark.Hudi() == "0.15.0" {
		reads("after its compaction", `"second"`, `"second"`)
	} else {
		reads("after its compaction", `"late"`, `"late"`)
	}
}

// upsertWithoutKey: the record key of such a table is a column as every other, by which
// Spark upserts; Lakefeed goes on with the table.
func upsertWithoutKey(t *testing.T, db *pgtest.Database, l *laketest.Lake, spark *parity.Engine, name string) {
	path := folder(l, name)
	have := lakefeedRows(t, path, parity.Read{NoMeta: true})
	old := parse(t, have[0])
	more := old.with("_lakefeed_key", `"spark-1"`).with("v", `"of Spark"`)
	if err := spark.WriteExactly(t.Context(), path, "upsert", []string{old.String(), more.String()}, sparkOptions(name, "_lakefeed_key", 2)); err != nil {
		t.Fatal(err)
	}
	if d := parity.Diff(append(have, more.String()), agreed(t, path, parity.Read{NoMeta: true})); d != "" {
		t.Errorf("after Spark's upsert: %s", d)
	}
	db.Exec(t, fmt.Sprintf(`insert into %s values (9, 'later'), (9, 'later')`, name))
}
