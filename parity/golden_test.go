package parity_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/golden"
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
	for _, name := range golden.Names(t) {
		dir := golden.Unpack(t, name)
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
		dir := golden.Unpack(t, name)
		for view := range golden.Expected(t, dir) {
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
	want, err := golden.Lines(golden.Expected(t, dir)[view])
	if err != nil {
		t.Fatal(err)
	}
	return parity.Diff(want, got, "_hoodie_file_name")
}

// TestWriteAndServe has Spark upsert into a table, compact it and check it.
func TestWriteAndServe(t *testing.T) {
	e := parity.Spark(t, "1.2.0")
	table := filepath.Join(golden.Unpack(t, "v6_0150_mor_hive_nomdt"), "table")
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
