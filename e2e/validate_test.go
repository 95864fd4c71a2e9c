package e2e

import (
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestValidateRunning asks a `lakefeed run` that is under load whether lake and source are equal.
func TestValidateRunning(t *testing.T) { validateRunning(t, 1) }

// TestValidateRunningLong asks several times.
func TestValidateRunningLong(t *testing.T) {
	long.Test(t)
	validateRunning(t, 5)
}

func validateRunning(t *testing.T, times int) {
	t.Helper()
	t.Parallel()
	seed, _ := newSeed(t)
	db := pgtest.NewDatabase(t)
	l := newLoadLake(t, db, `    commit_interval: 100ms
    compact_after: 3
    retain_commits: 100`)
	run := startRun(t, l)
	load := startLoad(t, db, seed)
	awaitAck(t, db, run)
	for range times {
		compared(t, l)
		load.check()
		run.check()
	}
	load.stop()
	t.Log(l.Run(0, "validate"))
	run.stop()
}

// compared runs validate until no table was truncated while it was read.
func compared(t *testing.T, l *laketest.Lake) {
	t.Helper()
	for range 10 {
		code, out := l.Exit("validate")
		if code == 0 {
			return
		}
		if !strings.Contains(out, "NOT COMPARED") || strings.Contains(out, "DIFFERENT") {
			t.Fatalf("validate: exit code %d\n%s", code, out)
		}
	}
	t.Fatal("a table was truncated in each of ten comparisons")
}
