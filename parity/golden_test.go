package parity_test

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/parity"
)

// known are the golden tables that an engine reads otherwise than the engine that
// wrote them. They say what not to write.
var known = map[string]string{
	"hudi-rs/v6_0150_mor_none_mdt":                 "loses the log files beside a pending compaction",
	"hudi-rs/v6_120_mor_none_nomdt":                "loses the log files beside a pending compaction",
	"Spark with Hudi 0.15.0/v6_120_mor_none_nomdt": "orders late rows by arrival, Hudi 1.2.0 by the precombine field",
}

// TestGolden shows that the engines answer as they did when the golden tables were
// made, so that their answers on our tables count.
func TestGolden(t *testing.T) {
	engines := parity.Engines(t)
	files, err := filepath.Glob("../hudi/testdata/golden/*.tar.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden tables: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".tar.gz")
		dir := t.TempDir()
		if err := unpack(file, dir); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, name)
		for _, e := range engines {
			if e.Hudi() == "0.15.0" && !strings.HasPrefix(name, "v6_") {
				continue // it knows no newer version
			}
			t.Run(name+"/"+e.String(), func(t *testing.T) {
				d, why := readGolden(t, e, dir, "snapshot", parity.Read{}), known[e.String()+"/"+name]
				switch {
				case d != "" && why == "":
					t.Error(d)
				case d == "" && why != "":
					t.Errorf("reads the table right, yet it is known that it %s", why)
				}
			})
		}
	}
}

// TestGoldenViews reads what is not the snapshot, with the engine that wrote it.
func TestGoldenViews(t *testing.T) {
	for name, release := range map[string]string{"v6_0150_mor_hive_nomdt": "0.15.0", "v6_120_cow_hive_mdt": "1.2.0", "v9_120_mor_none_mdt": "1.2.0"} {
		e := parity.Spark(t, release)
		dir := t.TempDir()
		if err := unpack("../hudi/testdata/golden/"+name+".tar.gz", dir); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, name)
		files, err := filepath.Glob(filepath.Join(dir, "expected", "*.jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			view := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
			r := parity.Read{Mode: view}
			if begin, ok := strings.CutPrefix(view, "incremental_from_"); ok {
				r = parity.Read{Begin: strings.TrimPrefix(begin, "completion_")}
			} else if instant, ok := strings.CutPrefix(view, "as_of_"); ok {
				r = parity.Read{AsOf: instant}
			} else if strings.HasPrefix(view, "before_") {
				continue // what it shows has been cleaned away
			}
			t.Run(name+"/"+view, func(t *testing.T) {
				if d := readGolden(t, e, dir, view, r); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// readGolden returns how an engine's rows differ from those kept beside the table.
// The engines name files differently in _hoodie_file_name.
func readGolden(t *testing.T, e *parity.Engine, dir, view string, r parity.Read) string {
	t.Helper()
	got, err := e.Read(t.Context(), filepath.Join(dir, "table"), r)
	if err != nil {
		t.Fatal(err)
	}
	return parity.Diff(gunzipLines(t, filepath.Join(dir, "expected", view+".jsonl.gz")), got, "_hoodie_file_name")
}

// TestWriteAndServe has Spark upsert into a table, compact it and check it.
func TestWriteAndServe(t *testing.T) {
	e := parity.Spark(t, "1.2.0")
	dir := t.TempDir()
	if err := unpack("../hudi/testdata/golden/v6_0150_mor_hive_nomdt.tar.gz", dir); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(dir, "v6_0150_mor_hive_nomdt", "table")
	row := `{"id":7000,"k":1,"name":"new","price":"1.2500","d":"2026-01-02","ts":"2026-01-02T03:04:05.000006","region":"eu","seq":99}`
	if err := e.Write(t.Context(), table, "upsert", []string{row}, nil); err != nil {
		t.Fatal(err)
	}
	before, err := e.Read(t.Context(), table, parity.Read{NoMeta: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != 311 {
		t.Errorf("%d rows after an upsert of one into 310", len(before))
	}
	if err := e.Service(t.Context(), table, "compact", nil); err != nil {
		t.Fatal(err)
	}
	after, err := e.Read(t.Context(), table, parity.Read{NoMeta: true, Mode: "read_optimized"})
	if err != nil {
		t.Fatal(err)
	}
	if d := parity.Diff(before, after); d != "" {
		t.Errorf("after compaction: %s", d)
	}
	report, err := e.Check(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Mismatches) > 0 || report.Version != "6" {
		t.Errorf("check: %+v", report)
	}
	if _, err := e.Read(t.Context(), table, parity.Read{AsOf: "nonsense"}); err == nil {
		t.Error("an instant that is none was read")
	}
}

func TestDiff(t *testing.T) {
	for _, c := range []struct{ want, got, diff string }{
		{`{"a":1,"b":"<"}` + "\n" + `{"a":2}`, `{"a":2}` + "\n" + `{"b":"<","a":1}`, ""},
		{`{"a":1}`, `{"a":1}` + "\n" + `{"a":1}`, "1 rows wanted, 2 got; 0 missing, 1 not wanted\n\tnot wanted: {\"a\":1}"},
		{`{"a":1,"b":1e20}`, `{"a":1.0,"b":100000000000000000000}`, ""},
		{`{"a":1}`, `{"a":1.5}`, "1 rows wanted, 1 got; 1 missing, 1 not wanted\n\tmissing: {\"a\":1}\n\tnot wanted: {\"a\":1.5}"},
	} {
		if d := parity.Diff(strings.Split(c.want, "\n"), strings.Split(c.got, "\n")); d != c.diff {
			t.Errorf("Diff(%s, %s) = %q, want %q", c.want, c.got, d, c.diff)
		}
	}
}

func unpack(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
	}
}

func gunzipLines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		out = append(out, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
