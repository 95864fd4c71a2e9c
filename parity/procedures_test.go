package parity_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/internal/laketest"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// TestProcedures lets Spark's procedures work on tables that we compacted, cleaned,
// archived, clustered, gave other buckets and another type.
func TestProcedures(t *testing.T) {
	for _, typ := range []hudi.TableType{hudi.CopyOnWrite, hudi.MergeOnRead} {
		t.Run(string(typ), func(t *testing.T) { procedures(t, typ) })
	}
}

func procedures(t *testing.T, typ hudi.TableType) {
	spark := parity.Spark(t, "1.2.0")
	m := newMatrixRun(t, cell{typ, hudi.IndexBucket, "none", "1.2.0", false, false}, filepath.Join(t.TempDir(), "matrix"), 5)
	do := func(s step) {
		t.Helper()
		did, err := s()
		if err != nil {
			t.Fatalf("%s: %v", did, err)
		}
	}
	// writes makes some commits and ends without a log file on a table to be archived.
	writes := func() {
		for range 6 {
			do(func() (string, error) { return m.upsert(10) })
		}
		if m.typ == hudi.MergeOnRead {
			do(m.compact)
		}
	}
	convert := func(opts hudi.ConvertOptions) {
		t.Helper()
		if err := m.table.Convert(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
		if opts.Type != "" {
			m.typ = opts.Type
		}
		if opts.Buckets > 0 {
			m.buckets = opts.Buckets
		}
	}
	m.note(m.upsert(30))
	writes()
	m.note(m.cluster())
	convert(hudi.ConvertOptions{Buckets: 5})
	convert(hudi.ConvertOptions{Type: map[hudi.TableType]hudi.TableType{hudi.CopyOnWrite: hudi.MergeOnRead, hudi.MergeOnRead: hudi.CopyOnWrite}[typ]})
	m.note("conversion", nil)
	writes()
	if res, err := m.table.Clean(t.Context(), hudi.CleanOptions{RetainCommits: 2}); err != nil || res.Files == 0 {
		t.Fatalf("clean: %v, %v", res, err)
	}
	res, err := m.table.Archive(t.Context(), hudi.ArchiveOptions{KeepMin: 3, KeepMax: 4})
	if err != nil || res.Instants < 8 {
		t.Fatalf("archive: %v, %v", res, err)
	}
	do(func() (string, error) { return m.upsert(10) })
	m.note("archiving", nil)
	if !m.hasArchived(t) {
		t.Error("the archived timeline has no commit")
	}

	if d := m.shownCommits(t, spark); d != "" {
		t.Errorf("show_commits: %s", d)
	}
	if m.typ == hudi.MergeOnRead {
		before := m.plans(t)
		if m.note(m.sparkCompact()); m.plans(t) != before+1 || len(pending(t, m.path)) != 0 {
			t.Errorf("run_compaction: %d compactions, %d before", m.plans(t), before)
		}
	}
	files := len(m.files(t))
	if _, err := spark.SQL(t.Context(), m.path, "CALL run_clean(table => '{t}', retain_commits => 1, options => '"+m.serviceOptions()+"')", nil); err != nil {
		t.Fatal(err)
	}
	if now := len(m.files(t)); now >= files {
		t.Errorf("run_clean: %d files before, %d after", files, now)
	}
	m.note("Spark's cleaning", nil)
	m.note(m.sparkUpsert(nil))
	writes()
	m.note("our commits after Spark's", nil)
	if d := m.shownCommits(t, spark); d != "" {
		t.Errorf("show_commits in the end: %s", d)
	}
}

// plans is the number of compactions on the timeline.
func (m *matrixRun) plans(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.path, ".hoodie", "*.compaction.requested"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func (m *matrixRun) hasArchived(t *testing.T) bool {
	t.Helper()
	for i, err := range m.open().Archived(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Commit != nil {
			return true
		}
	}
	return false
}

func (m *matrixRun) files(t *testing.T) []hudi.TableFile {
	t.Helper()
	files, err := m.open().Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// shownCommits compares what show_commits prints with our timeline.
func (m *matrixRun) shownCommits(t *testing.T, spark *parity.Engine) string {
	t.Helper()
	rows, err := spark.SQL(t.Context(), m.path, "CALL show_commits(table => '{t}', limit => 1000)", nil)
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours []string
	for _, text := range rows {
		var r struct {
			Time string `json:"commit_time"`
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, r.Time)
	}
	for _, i := range m.open().Timeline().Completed() {
		ours = append(ours, i.Time)
	}
	slices.Sort(theirs)
	m.checkBuckets(t)
	if !slices.Equal(theirs, ours) {
		return fmt.Sprintf("Spark has %v, we have %v", theirs, ours)
	}
	return ""
}

// checkBuckets: Spark finds the number in the properties.
func (m *matrixRun) checkBuckets(t *testing.T) {
	t.Helper()
	if told := properties(t, m.path)["hoodie.bucket.index.num.buckets"]; told != strconv.Itoa(m.buckets) {
		t.Errorf("the properties have %s buckets, want %d", told, m.buckets)
	}
}

// TestVerbs uses lakefeed table on tables that Spark has just made.
func TestVerbs(t *testing.T) {
	for _, release := range []string{"1.2.0", "0.15.0"} {
		for _, typ := range []string{"cow", "mor"} {
			// Half of them as Spark makes them by its defaults, with a metadata table.
			metadata := strconv.FormatBool((release == "1.2.0") == (typ == "mor"))
			t.Run(release+" "+typ, func(t *testing.T) { verbs(t, parity.Spark(t, release), typ, metadata) })
		}
	}
}

func verbs(t *testing.T, spark *parity.Engine, typ, metadata string) {
	path := filepath.Join(t.TempDir(), "made")
	name := fmt.Sprintf("made_%s_%s", typ, strings.ReplaceAll(spark.Hudi(), ".", ""))
	opts := maps.Clone(madeOptions)
	opts["hoodie.metadata.enable"] = metadata
	if metadata == "true" { // the other half count by their ordering value, where that is the release's way
		opts[payloadOption] = "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload"
	}
	sparkMakes(t, spark, name, path, typ, opts)
	if made := properties(t, path)["hoodie.table.metadata.partitions"] != ""; made != (metadata == "true") {
		t.Fatalf("hoodie.metadata.enable=%s, and a metadata table: %v", metadata, made)
	}
	want := agreed(t, path, parity.Read{})
	if len(want) != 19 {
		t.Fatalf("%d rows", len(want))
	}
	contains := func(text string, args ...string) string {
		t.Helper()
		out := lakefeedTable(t, path, args...)
		if !strings.Contains(out, text) {
			t.Errorf("table %v: no %q in\n%s", args, text, out)
		}
		return out
	}
	contains("19 rows", "check")
	if out := lakefeedTable(t, path, "stats", "--count"); !regexp.MustCompile(`(?m)^rows +19$`).MatchString(out) {
		t.Errorf("stats: %s", out)
	}
	contains("live ", "files")
	first := firstInstant(t, contains("commit", "timeline"))
	checkImages(t, lakefeedTable(t, path, "changes", "--images", "--from", first))
	if typ == "mor" {
		contains("compacted in 2", "compact")
		contains("0 B; at most 0 on a base file", "stats")
	}
	contains("files", "clean", "--retain-commits", "1")
	contains("sound", "check")
	if d := parity.Diff(want, agreed(t, path, parity.Read{})); d != "" {
		t.Errorf("after our services: %s", d)
	}
	for _, text := range []string{"update %s set v = 'again' where id = 5", "delete from %s where id = 6"} {
		if _, err := spark.SQL(t.Context(), path, fmt.Sprintf(text, name), opts); err != nil {
			t.Fatal(err)
		}
	}
	rows := agreed(t, path, parity.Read{})
	if got := byID(t, rows, "5").text("v"); got != `"again"` || len(rows) != 18 {
		t.Errorf("Spark went on: %d rows, %s", len(rows), got)
	}
	contains("sound", "check")
	if metadata == "true" {
		writeOver(t, path)
		if d := parity.Diff(rows, agreed(t, path, parity.Read{})); d != "" {
			t.Errorf("after each row was written over itself: %s", d)
		}
		contains("sound", "check")
	}
}

// payloadOption is where Spark is told which record of a key counts.
const payloadOption = "hoodie.datasource.write.payload.class"

// writeOver writes each row of a table of Spark's over itself.
func writeOver(t *testing.T, path string) {
	t.Helper()
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, hudi.Options{Index: hudi.IndexSimple})
	if err != nil {
		t.Fatal(err)
	}
	if parts := table.MetadataTable(); !slices.Contains(parts, "files") {
		t.Errorf("Spark made no metadata table anew: %v", parts)
	}
	for batch, err := range table.Read(t.Context(), hudi.ReadOptions{}) {
		if err == nil {
			_, err = table.Upsert(t.Context(), batch)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if parts := table.MetadataTable(); len(parts) > 0 {
		t.Errorf("the metadata table %v stands after a write", parts)
	}
}

var madeOptions = parity.Options{
	"hoodie.write.table.version": "6", "hoodie.write.auto.upgrade": "false", "hoodie.metadata.enable": "false",
	"hoodie.compact.inline": "false", "hoodie.clean.automatic": "false", "hoodie.archive.automatic": "false",
}

// sparkMakes makes a partitioned table by Spark SQL, as somebody else would: with rows
// that are merged in the engine's own way.
func sparkMakes(t *testing.T, spark *parity.Engine, name, path, typ string, opts parity.Options) {
	t.Helper()
	more := ""
	if class := opts[payloadOption]; class != "" {
		more = fmt.Sprintf(", '%s' = '%s'", payloadOption, class)
	}
	for _, text := range []string{
		`create table %[1]s (id int, v string, price decimal(12,2), region string) using hudi partitioned by (region) location '%[2]s'
			tblproperties (type = '%[3]s', primaryKey = 'id', preCombineField = 'id',
			'hoodie.write.table.version' = '6', 'hoodie.metadata.enable' = '%[4]s'%[5]s)`,
		`insert into %[1]s select id, 'first', id * 1.25, concat('r', id %% 2) from range(20)`,
		`update %[1]s set v = 'second' where id < 5`,
		`delete from %[1]s where id = 19`,
	} {
		if _, err := spark.SQL(t.Context(), "", fmt.Sprintf(text, name, path, typ, opts["hoodie.metadata.enable"], more), opts); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// lakefeedTable runs a verb on a table and returns what it prints.
func lakefeedTable(t *testing.T, path string, args ...string) string {
	t.Helper()
	args = slices.Concat([]string{"table", args[0], path}, args[1:])
	out, err := laketest.Command(t.Context(), t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("lakefeed %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func firstInstant(t *testing.T, out string) string {
	t.Helper()
	all := regexp.MustCompile(`\b2\d{16}\b`).FindAllString(out, -1)
	if len(all) == 0 {
		t.Fatalf("no instant in\n%s", out)
	}
	return slices.Min(all)
}

// checkImages holds the changes since the first insert against what was done.
func checkImages(t *testing.T, out string) {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(out) {
		var c struct {
			Op            string
			Before, After *struct {
				ID int
				V  string
			}
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Before == nil {
			t.Fatalf("%v in %s", err, line)
		}
		text := c.Op + " of " + c.Before.V
		if c.After != nil {
			text += " to " + c.After.V
		}
		found[strconv.Itoa(c.Before.ID)] = text
	}
	if len(found) != 6 || found["19"] != "delete of first" || found["3"] != "update of first to second" {
		t.Errorf("changes: %v", found)
	}
}
