package e2e

import (
	"testing"

	"lakefeed/internal/pgtest"
)

// TestValidateRunning asks a `lakefeed run` that is under load, several times, whether
// lake and source are equal.
func TestValidateRunning(t *testing.T) {
	t.Parallel()
	seed, _ := newSeed(t)
	db := pgtest.NewDatabase(t)
	l := newLoadLake(t, db, `    commit_interval: 100ms
    compact_after: 3
    retain_commits: 100`)
	run := startRun(t, l)
	load := startLoad(t, db, seed)
	awaitAck(t, db, run)
	for range 5 {
		l.Run(0, "validate")
		load.check()
		run.check()
	}
	load.stop()
	t.Log(l.Run(0, "validate"))
	run.stop()
}
