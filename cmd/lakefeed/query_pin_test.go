package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/ci"
	"lakefeed/internal/golden"
	"lakefeed/query"
)

// pinsSeen notes, when something is written to it, how many pins a table has.
type pinsSeen struct {
	bytes.Buffer
	table string
	most  int
	then  func()
}

func (p *pinsSeen) Write(b []byte) (int, error) {
	p.most = max(p.most, countPins(p.table))
	if p.then != nil {
		p.then()
	}
	return p.Buffer.Write(b)
}

func countPins(table string) int {
	pins, _ := filepath.Glob(filepath.Join(table, ".hoodie", ".lakefeed", "pins", "*.json"))
	return len(pins)
}

// A query pins each state of a table that it reads, and however it ends no pin stays.
func TestQueryPins(t *testing.T) {
	t.Parallel()
	if !query.Supported {
		ci.Missing(t, "%v", query.ErrNoSQL)
	}
	table := filepath.Join(golden.Unpack(t, "v6_120_mor_none_nomdt"), "table")
	for _, c := range []struct {
		name string
		args []string
		pins int
		code int
		stop bool // as Ctrl-C does, while it prints
	}{
		{"a query", []string{"FROM t a JOIN t b USING (id)"}, 1, 0, false},
		{"two states", []string{"SELECT count(*) FROM t, read_hudi('t', as_of := '20261122013505232')"}, 2, 0, false},
		{"no pin", []string{"FROM t", "--pin", "0"}, 0, 0, false},
		{"an error", []string{"SELECT cast(name AS int) FROM t"}, 0, 2, false},
		{"a mistake", []string{"SELECT nothing FROM t"}, 0, 2, false},
		{"stopped", []string{"SELECT a.* FROM t a, t b, t c"}, 1, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			out, errs := &pinsSeen{table: table}, &bytes.Buffer{}
			if c.stop {
				out.then = stop
			}
			code := run(ctx, append([]string{"query", "--table", "t=" + table, "--format", "csv"}, c.args...), nil, out, errs)
			if (code == 0) != (c.code == 0) || c.code == 2 && code != 2 {
				t.Errorf("exit code %d: %s", code, errs)
			}
			if out.most != c.pins {
				t.Errorf("%d pins while it ran, want %d", out.most, c.pins)
			}
			if n := countPins(table); n != 0 {
				t.Errorf("%d pins stay", n)
			}
		})
	}
}

// Reads of a state that is not the newest, and of changes, pin the oldest state that they need.
func TestReadsPin(t *testing.T) {
	t.Parallel()
	const cleaned, old, newest = "20261122013447453", "20261122013505232", "20261122013513111"
	table := filepath.Join(golden.Unpack(t, "v6_120_mor_none_nomdt"), "table")
	for _, c := range []struct {
		name string
		args []string
		pins string // the instants
	}{
		{"as of", []string{"read", table, "--as-of", old}, old},
		{"as of, no pin", []string{"read", table, "--as-of", old, "--pin", "0"}, ""},
		{"the newest", []string{"read", table}, ""},
		{"the newest, pinned", []string{"read", table, "--pin", "1m"}, newest},
		{"changes", []string{"changes", table, "--from", old}, newest},
		{"changes up to", []string{"changes", table, "--from", "20261122013456435", "--to", old}, old},
		{"changes, no pin", []string{"changes", table, "--from", old, "--pin", "0"}, ""},
		{"images", []string{"changes", table, "--from", old, "--images"}, old},
		{"images of all", []string{"changes", table, "--images"}, newest},
		{"images from before", []string{"changes", table, "--from", "2020-01-01", "--images"}, newest},
		{"rows since what is cleaned", []string{"changes", table, "--from", cleaned}, newest},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := ""
			out, errs := &pinsSeen{table: table}, &bytes.Buffer{}
			out.then = func() { seen = pinnedInstants(t, table) }
			if code := run(t.Context(), append([]string{"table"}, c.args...), nil, out, errs); code != 0 || errs.Len() > 0 {
				t.Errorf("exit code %d: %s", code, errs)
			}
			if seen != c.pins {
				t.Errorf("pinned while it ran: %q, want %q", seen, c.pins)
			}
			if n := countPins(table); n != 0 {
				t.Errorf("%d pins stay", n)
			}
		})
	}
}

// pinnedInstants are those of a table's pins.
func pinnedInstants(t *testing.T, table string) string {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), []string{"table", "pin", table, "--list", "--json"}, nil, &out, &out); code != 0 {
		t.Errorf("list pins: %s", &out)
	}
	var pins []struct{ Instant string }
	if err := json.Unmarshal(out.Bytes(), &pins); err != nil {
		t.Error(err)
	}
	var at []string
	for _, p := range pins {
		at = append(at, p.Instant)
	}
	return strings.Join(at, " ")
}

// A table in which nobody may write is read without a pin, and the user is told.
func TestReadWithoutRights(t *testing.T) {
	t.Parallel()
	table := filepath.Join(golden.Unpack(t, "v6_120_mor_none_nomdt"), "table")
	if err := os.MkdirAll(filepath.Join(table, ".hoodie", ".lakefeed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(table, ".hoodie", ".lakefeed", "pins"), nil, 0o600); err != nil { // where the folder should be
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"query", "--table", "t=" + table, "SELECT count(*) AS n FROM t"},
		{"table", "read", table, "--as-of", "20261122013505232"},
		{"table", "changes", table},
	} {
		if args[0] == "query" && !query.Supported {
			continue
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), args, nil, &out, &errs)
		if code != 0 || out.Len() == 0 || !strings.Contains(errs.String(), "is read without a pin") {
			t.Errorf("%v: exit code %d: %s", args, code, &errs)
		}
	}
}
