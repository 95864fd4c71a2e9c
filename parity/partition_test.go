package parity_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// partitionedTables are tables whose rows lie in partitions, and a condition by which
// engines need to look into one of these only.
var partitionedTables = []struct {
	name, by string
	where    []string
	folder   string // beginning of the one partition's path
}{
	{"regions", "region", []string{"region", "=", "a b/c%d=é"}, "region=a b%2Fc%25d%3Dé"},
	{"days", "[region, day(at)]", []string{"at_day", "=", "2026-01-02"}, "region=eu/at_day=2026-01-02"},
	{"months", "month(at)", []string{"at_month", ">=", "2026-02"}, "at_month=2026-02"},
	{"years", "year(d)", []string{"d_year", "=", "0987"}, "d_year=0987"},
	{"hours", "[hour(at), n]", []string{"at_hour", "<", "2026-01-01-13"}, "at_hour=2026-01-01-12/n=1"},
	{"dates", "d", []string{"d", "=", "0987-06-05"}, "d=0987-06-05"},
	{"numbers", "n", []string{"n", "=", "1"}, "n=1"},
	{"prices", "[price, ok]", []string{"price", "=", "1.50"}, "price=1.50/ok=true"},
}

// TestPartitions reads partitioned tables of both types with every engine, all rows and
// those of one partition while the files of all others are damaged.
func TestPartitions(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	var entries []string
	for i, p := range partitionedTables {
		// hudi-rs looks into partitions whose values it cannot read: of several levels, of which
		// one has a slash, and of null where the column is no text. Spark: TestNullPartition.
		region, null := "ap", ""
		if p.by == "region" {
			region = "a b/c%d=é"
		}
		if p.name == "regions" || p.name == "years" {
			null = ", (3, null, null, null, null, null, null, null)"
		}
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, region text, at timestamptz, d date, n int, price numeric(10,2), ok boolean, body text)`, p.name),
			fmt.Sprintf(`alter table %s alter body set storage external`, p.name),
			fmt.Sprintf(`insert into %s values
				(1, '%s', '2026-01-01 12:34:56+00', '0987-06-05', 1, 1.5, true, repeat('x', 3000)),
				(2, 'eu', '2026-01-02 00:00:00+00', '2026-01-02', 2, -0.01, false, repeat('y', 3000)),
				(4, 'us', '2026-01-03', '9999-12-31', 3, 0, true, 'z')%s`, p.name, region, null))
		typ := []string{"merge_on_read", "copy_on_write"}[i%2]
		entries = append(entries, fmt.Sprintf("      - match: public.%s\n        partition_by: %s\n        table_type: %s\n        buckets: 2", p.name, p.by, typ))
	}
	lake := laketest.New(t, db.URL, strings.Join(entries, "\n"), fmt.Sprintf("    index_dir: %q", t.TempDir()))
	lake.Run(0, "run", "--once")
	for _, p := range partitionedTables {
		db.Exec(t, fmt.Sprintf(`update %s set region = (select region from %[1]s where id = 1), at = '2026-02-03', d = '2026-01-01', n = 7, price = 9 where id = 2`, p.name), // body is not sent
			fmt.Sprintf(`delete from %s where id = 4`, p.name),
			fmt.Sprintf(`insert into %s values (5, 'eu', '2026-01-02 23:59:59.999999+00', '0987-06-05', 1, 1.5, true, 'v')`, p.name))
	}
	lake.Run(0, "run", "--once")
	lake.Run(0, "validate")
	for _, p := range partitionedTables {
		inStep(t, db, lake, p.name)
		prunes(t, folder(lake, p.name), p.where, p.folder)
	}
}

// TestNullPartition looks for rows by a range where a partition is null: Spark fails
// while it lists partitions one by one, and does not where it lists them all.
func TestNullPartition(t *testing.T) {
	engines := parity.Engines(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, `create table t (id int primary key, at date)`, `insert into t values (1, '2026-01-01'), (2, null), (3, '2026-03-04')`)
	lake := laketest.New(t, db.URL, "      - match: public.t\n        partition_by: month(at)", fmt.Sprintf("    index_dir: %q", t.TempDir()))
	lake.Run(0, "run", "--once")
	inStep(t, db, lake, "t")
	for _, e := range engines {
		r := parity.Read{NoMeta: true, Where: []string{"at_month", ">=", "2026-02"}}
		_, err := e.Read(t.Context(), folder(lake, "t"), r)
		if e.Hudi() != "" && (err == nil || !strings.Contains(err.Error(), "NullPointerException")) {
			t.Errorf("%s does not fail any more, docs/readers.md says that it does: %v", e, err)
		}
		r.ListAll = e.Hudi() != ""
		rows, err := e.Read(t.Context(), folder(lake, "t"), r)
		if err != nil || len(rows) != 1 || parse(t, rows[0]).text("id") != "3" {
			t.Errorf("%s reads %v, %v", e, rows, err)
		}
	}
}

// prunes sees that engines find rows by a condition without a look at other partitions.
func prunes(t *testing.T, table string, where []string, folder string) {
	t.Helper()
	name := filepath.Base(table)
	want, errs := readAll(t, table, parity.Read{NoMeta: true, Where: where})
	for i, e := range parity.Engines(t) {
		if errs[i] != nil || len(want[i]) == 0 {
			t.Errorf("%s: %s finds %d rows by %v, %v", name, e, len(want[i]), where, errs[i])
		}
	}
	damaged := 0
	err := filepath.WalkDir(table, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(table, path)
		if err != nil || d.IsDir() || strings.HasPrefix(rel, ".hoodie/") || strings.HasPrefix(rel, folder) || strings.Contains(path, "partition_metadata") {
			return err
		}
		damaged++
		return os.WriteFile(path, []byte("damaged"), 0o600)
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%s: %d files were damaged, %v", name, damaged, err)
	}
	if _, errs := readAll(t, table, parity.Read{NoMeta: true}); errs[0] == nil || errs[1] == nil || errs[2] == nil {
		t.Errorf("%s: damaged files were read: %v", name, errs)
	}
	got, errs := readAll(t, table, parity.Read{NoMeta: true, Where: where})
	for i, e := range parity.Engines(t) {
		if errs[i] != nil {
			t.Errorf("%s: %s looks into other partitions for %v: %v", name, e, where, errs[i])
		} else if d := parity.Diff(want[i], got[i]); d != "" {
			t.Errorf("%s: %s by %v: %s", name, e, where, d)
		}
	}
}

// TestSparkWritesPartitions lets Spark change rows of partitioned tables of one key
// column, and lakefeed move the rows that it wrote.
func TestSparkWritesPartitions(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	var entries []string
	releases := map[string]string{"one_120": "1.2.0", "one_015": "0.15.0", "two_120": "1.2.0", "two_015": "0.15.0"}
	for name := range releases {
		by := "[day(at)]"
		if strings.HasPrefix(name, "two") {
			by = "[region, day(at)]"
		}
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, region text, at timestamptz, v text)`, name),
			fmt.Sprintf(`insert into %s select i, 'r' || i %% 2, '2026-01-01', 'v' from generate_series(1, 4) i`, name))
		entries = append(entries, fmt.Sprintf("      - match: public.%s\n        partition_by: %s\n        buckets: 2", name, by))
	}
	lake := laketest.New(t, db.URL, strings.Join(entries, "\n"), fmt.Sprintf("    index_dir: %q", t.TempDir()))
	lake.Run(0, "run", "--once")
	for name, release := range releases {
		path, spark := folder(lake, name), parity.Spark(t, release)
		o := sparkOptions(name, "id", 2)
		o["hoodie.datasource.write.hive_style_partitioning"], o["hoodie.datasource.write.partitionpath.urlencode"] = "true", "true"
		o["hoodie.datasource.write.keygenerator.class"], o["hoodie.datasource.write.partitionpath.field"] = "org.apache.hudi.keygen.SimpleKeyGenerator", "at_day"
		if strings.HasPrefix(name, "two") {
			o["hoodie.datasource.write.keygenerator.class"], o["hoodie.datasource.write.partitionpath.field"] = "org.apache.hudi.keygen.ComplexKeyGenerator", "region,at_day"
			o["hoodie.write.complex.keygen.new.encoding"], o["hoodie.write.complex.keygen.validation.enable"] = "true", "false"
		}
		rows := lakefeedRows(t, path, parity.Read{NoMeta: true})
		changed := byID(t, rows, "1").with("v", `"spark"`)
		added := byID(t, rows, "2").with("id", "77").with("region", `"r9"`).with("at", `"2027-05-06T00:00:00.000000"`).with("at_day", `"2027-05-06"`)
		if err := spark.WriteExactly(t.Context(), path, "upsert", []string{changed.String(), added.String()}, o); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := append(without(t, rows, "1"), changed.String(), added.String())
		if d := parity.Diff(want, agreed(t, path, parity.Read{})); d != "" {
			t.Errorf("%s after Spark: %s", name, d)
		}
		db.Exec(t, fmt.Sprintf(`insert into %s values (77, 'r9', '2028-01-01', 'new')`, name), // Spark's own row moves
			fmt.Sprintf(`update %s set region = 'moved', at = '2026-03-03'`, name), fmt.Sprintf(`delete from %s where id = 2`, name))
	}
	lake.Run(0, "run", "--once")
	lake.Run(0, "validate")
	for name := range releases {
		inStep(t, db, lake, name)
	}
}
