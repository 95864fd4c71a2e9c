package main

import (
	"bytes"
	"strings"
	"testing"

	"lakefeed/hudi"
)

// show is what `table show` prints of a table, in which so many delta commits wait.
func show(t *testing.T, l *lockedTable, waiting int) string {
	t.Helper()
	info, err := describe(t.Context(), l.Table, l.dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.SinceComp != waiting {
		t.Errorf("%d delta commits wait for a compaction, want %d", info.SinceComp, waiting)
	}
	var out bytes.Buffer
	if err := info.print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestShowWhatWaits counts the delta commits that a compaction would merge: none after a clustering.
func TestShowWhatWaits(t *testing.T) {
	t.Parallel()
	l := newLockedTable(t, nil)
	show(t, l, 0)
	l.upsert("b")
	l.upsert("c")
	if text := show(t, l, 2); !strings.Contains(text, "never (2 delta commits since)") {
		t.Error(text)
	}
	if _, err := l.Cluster(t.Context(), hudi.ClusterOptions{SortBy: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	if text := show(t, l, 0); strings.Contains(text, "compaction") {
		t.Error(text)
	}
	l.upsert("d")
	show(t, l, 1)
	if _, err := l.Compact(t.Context(), hudi.CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	show(t, l, 0)
}

// TestShowClaim tells in words who has the claim, and nothing of its bytes or of the files beside it.
func TestShowClaim(t *testing.T) {
	t.Parallel()
	l := newLockedTable(t, nil)
	claimLines := func() (out []string) {
		for line := range strings.Lines(show(t, l, 0)) {
			if strings.HasPrefix(line, "lock or heartbeat") {
				out = append(out, line)
			}
		}
		return out
	}
	if lines := claimLines(); len(lines) != 1 || !strings.HasSuffix(lines[0], "at work on nothing\n") || strings.Contains(lines[0], "{") {
		t.Errorf("%q", lines)
	}
	x, err := l.Begin(t.Context(), hudi.TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lines := claimLines(); len(lines) != 1 || !strings.Contains(lines[0], "at work on "+x.Instant()) {
		t.Errorf("%q", lines)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}
