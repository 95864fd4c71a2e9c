package parity_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi"
	"lakefeed/hudi/timeline"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// TestSparkAgainstAdvice does what docs/spark-writers.md says under "What to mind" that one
// should not, and sees that what comes of it is what the page says.
func TestSparkAgainstAdvice(t *testing.T) {
	parity.Engines(t)
	for _, release := range []string{"1.2.0", "0.15.0"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			spark := parity.Spark(t, release)
			t.Run("beside a transaction", func(t *testing.T) { besideTransaction(t, spark) })
			t.Run("clustering of buckets", func(t *testing.T) { clustersBuckets(t, spark) })
			t.Run("compaction", func(t *testing.T) { compacts(t, spark) })
			t.Run("time zone", func(t *testing.T) { inZone(t, spark) })
			t.Run("keys", func(t *testing.T) { oddKeys(t, spark) })
		})
	}
}

// besideTransaction: Spark without a lock takes our open transaction for a dead one. We
// notice, commit nothing of it, and write it again.
func besideTransaction(t *testing.T, spark *parity.Engine) {
	l := sharedLock{path: filepath.Join(t.TempDir(), "shared")}
	store, err := file.Open(l.path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Create(t.Context(), store, hudi.CreateOptions{
		Name: "shared", Type: hudi.MergeOnRead, Schema: sharedSchema, RecordKey: []string{"id"}, OrderingField: "_event_lsn",
		Options: hudi.Options{Buckets: 8, Services: &hudi.ServicesOptions{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	upsert := func(key string, v int64) {
		t.Helper()
		if _, err := table.Upsert(t.Context(), sharedRow(key, v)); err != nil {
			t.Fatal(err)
		}
	}
	keys := keysOf(table, 3)
	upsert(keys[0], 1)
	upsert(keys[2], 1)
	x, err := table.Begin(t.Context(), hudi.TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	putShared(t, table, x, keys[0], 2)
	if err := spark.WriteExactly(t.Context(), l.path, "upsert", []string{sharedLine(keys[1], 10)}, sparkOptions("shared", "id", 8)); err != nil {
		t.Fatal(err)
	}
	conflict := new(hudi.ConflictError)
	if _, err = x.Commit(t.Context(), nil); !errors.As(err, &conflict) {
		t.Fatalf("a transaction that Spark has rolled back: %v", err)
	}
	t.Logf("as it should: %v", err)
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	upsert(keys[0], 3)
	want := map[string]int64{keys[0]: 3, keys[1]: 10, keys[2]: 1}
	if got := sharedRows(t, table); !maps.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	var lines []string
	for k, v := range want {
		lines = append(lines, sharedLine(k, v))
	}
	rows, err := spark.Read(t.Context(), l.path, parity.Read{NoMeta: true})
	if d := parity.Diff(lines, rows); err != nil || d != "" {
		t.Errorf("Spark reads %v, %s", err, d)
	}
}

// clustersBuckets: neither release can cluster a table of hash buckets. The plan that it
// leaves is in the way of its own writes, until one of ours takes it back.
func clustersBuckets(t *testing.T, spark *parity.Engine) {
	dir := optionsMor.make(t, false)
	options := "hoodie.metadata.enable=false,hoodie.write.table.version=6,hoodie.write.auto.upgrade=false,hoodie.clean.automatic=false," +
		"hoodie.datasource.write.recordkey.field=id,hoodie.index.type=BUCKET,hoodie.bucket.index.num.buckets=8"
	plans := func(want int) {
		t.Helper()
		if found, err := filepath.Glob(filepath.Join(dir, ".hoodie", "*.replacecommit.requested")); err != nil || len(found) != want {
			t.Errorf("plans %v, %v, want %d", found, err, want)
		}
	}
	upsert := func() error {
		return spark.WriteExactly(t.Context(), dir, "upsert", []string{optionRows("k", 1, 2, false)[0].String()}, optionsMor.sparks())
	}
	_, err := spark.SQL(t.Context(), dir, fmt.Sprintf("CALL run_clustering(path => '{path}', options => '%s')", options), nil)
	if err == nil || !strings.Contains(err.Error(), "not compatible with table layout HoodieSimpleBucketLayout") {
		t.Errorf("run_clustering: %v", err)
	}
	plans(1)
	if err := upsert(); err == nil {
		t.Error("Spark upserts beside the plan")
	}
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, optionsMor.options())
	if err != nil {
		t.Fatal(err)
	}
	batch := optionBatch(optionRows("k", 20, 3, false))
	defer batch.Release()
	if _, err := table.Upsert(t.Context(), batch); err != nil {
		t.Errorf("our upsert: %v", err)
	}
	plans(0)
	if err := upsert(); err != nil {
		t.Errorf("Spark's upsert after ours: %v", err)
	}
}

// compacts: a write of Spark's that is told that the table is merge-on-read compacts it too,
// once there are five delta commits.
func compacts(t *testing.T, spark *parity.Engine) {
	for option, want := range map[string]int{"": 1, "false": 0} {
		dir := optionsMor.make(t, false)
		store, err := file.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		table, err := hudi.Open(t.Context(), store, optionsMor.options())
		if err != nil {
			t.Fatal(err)
		}
		for v := range int64(4) {
			batch := optionBatch(optionRows("k", 20, 2+v, false))
			if _, err := table.Upsert(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch.Release()
		}
		opts := optionsMor.sparks()
		opts["hoodie.compact.inline"] = option
		if err := spark.WriteExactly(t.Context(), dir, "upsert", []string{optionRows("k", 1, 9, false)[0].String()}, opts); err != nil {
			t.Fatal(err)
		}
		if found, err := filepath.Glob(filepath.Join(dir, ".hoodie", "*.compaction.requested")); err != nil || len(found) != want {
			t.Errorf("with hoodie.compact.inline=%q: compactions %v, %v, want %d", option, found, err, want)
		}
	}
}

// inZone: Spark in another time zone keeps to UTC, as the table's properties say.
func inZone(t *testing.T, spark *parity.Engine) {
	dir := optionsMor.make(t, false)
	line := optionRows("k", 1, 2, false)[0].String()
	if err := spark.WriteInZone(t.Context(), "America/New_York", dir, "upsert", []string{line}, optionsMor.sparks()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, ".hoodie", "*.deltacommit"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	times := make([]time.Time, 2)
	for i, f := range files {
		if times[i], err = timeline.ParseTime(strings.TrimSuffix(filepath.Base(f), ".deltacommit")); err != nil {
			t.Fatal(err)
		}
	}
	if apart := times[1].Sub(times[0]); apart > 3*time.Hour { // New York is four or five hours behind
		t.Errorf("the instants %v are %v apart", files, apart)
	}
	if seen := (optionCase{table: optionsMor}).rows(t, dir); seen.doubled || seen.values["k0"] != 2 || len(seen.values) != 20 {
		t.Errorf("rows %v", seen.values)
	}
}

// dropProperty takes a line out of a table's properties.
func dropProperty(t *testing.T, dir, key string) {
	t.Helper()
	name := filepath.Join(dir, ".hoodie", "hoodie.properties")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.HasPrefix(line, key+"=") })
	if err := os.WriteFile(name, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, ".hoodie", ".hoodie.properties.crc")) // Hadoop's, where there is one
}

// oddKeys: which texts as keys Spark may not upsert, as it makes other record keys of them, or
// puts them into another bucket.
func oddKeys(t *testing.T, spark *parity.Engine) {
	for _, c := range []struct {
		table         optionTable
		keys          []string
		twice, twice0 []string // in Hudi 1.2.0 and in 0.15.0
	}{
		{optionsMor, []string{"plain", "50%", "a,b", "a:b", "id:x", "id:a,b", "%x", "__null__"}, []string{"%x", "__null__"}, []string{"a:b", "id:x", "id:a,b", "%x", "__null__"}},
		{optionsPair, []string{"plain", "a b", "50%", "a,b", "a:b"}, []string{"50%", "a,b", "a:b"}, []string{"50%", "a,b", "a:b"}},
	} {
		dir := c.table.make(t, false)
		upsertOdd(t, dir, c.table, c.keys)
		var lines []string
		for _, id := range c.keys {
			lines = append(lines, optionRow{id, "p", 3, false}.String())
		}
		if err := spark.WriteExactly(t.Context(), dir, "upsert", lines, c.table.sparks()); err != nil {
			t.Fatal(err)
		}
		rows, err := spark.Read(t.Context(), dir, parity.Read{NoMeta: true})
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, text := range rows {
			count[strings.Trim(parse(t, text).text("id"), `"`)]++
		}
		want := c.twice
		if spark.Hudi() == "0.15.0" {
			want = c.twice0
		}
		got := slices.DeleteFunc(slices.Clone(c.keys), func(id string) bool { return count[id] == 1 })
		if !slices.Equal(got, want) {
			t.Errorf("keys of %v that are there twice: %q, want %q", c.table.key, got, want)
		}
	}
	dir := optionsMor.make(t, false)
	err := spark.WriteExactly(t.Context(), dir, "upsert", []string{optionRow{"", "p", 3, false}.String()}, optionsMor.sparks())
	if err == nil || !strings.Contains(err.Error(), "cannot be null or empty") {
		t.Errorf("an empty key: %v", err)
	}
}

func upsertOdd(t *testing.T, dir string, o optionTable, keys []string) {
	t.Helper()
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, o.options())
	if err != nil {
		t.Fatal(err)
	}
	var rows []optionRow
	for _, id := range keys {
		rows = append(rows, optionRow{id, "p", 2, false})
	}
	batch := optionBatch(rows)
	defer batch.Release()
	if _, err := table.Upsert(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}
