package pipeline_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// rekeyings change what the rows of [toasted] are told apart by, so that no copy can take their place in the lake.
var rekeyings = map[string]string{
	"other columns": "alter table t drop constraint t_pkey, add primary key (n, id)",
	"other type":    "alter table t alter id type bigint",
}

// TestRekeyedCopyGoesOn interrupts the copy of a table whose key was changed, before and behind where the old rows are
// taken away: till then readers see them, and what was read is not read again.
func TestRekeyedCopyGoesOn(t *testing.T) {
	t.Parallel()
	rekeyed(t, "other type", nil, "chunk noted", 3)
	rekeyed(t, "other columns", nil, "data file", 1)
}

// TestRekeyedCopyGoesOnLong does so for every kind of table.
func TestRekeyedCopyGoesOnLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for kind := range rekeyings {
		for _, table := range []func(*change.Table) pipeline.TableOptions{nil, partitionedBy(t, "n")} {
			for _, phase := range []string{"chunk noted", "merge", "data file"} {
				rekeyed(t, kind, table, phase, map[string]int32{"chunk noted": 3}[phase]+1)
			}
		}
	}
}

func rekeyed(t *testing.T, kind string, table func(*change.Table) pipeline.TableOptions, phase string, n int32) {
	t.Helper()
	name := kind + ", " + phase
	if table != nil {
		name = "partitioned, " + name
	}
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		r := newRig(t, toasted...)
		r.table = table
		r.drain()
		r.db.Exec(t, rekeyings[kind])
		r.cutAt(phase, n, stormy[:5], chunky, recopies)
		had := r.staged()
		if shown := strings.Fields(r.column("t", "id")); phase != "data file" && len(shown) != 3000 || had < 3 {
			t.Errorf("readers see %d rows, and %d chunks are staged", len(shown), had)
		}
		var read atomic.Int32
		run := r.start(chunky, recopies, reads(&read))
		r.db.Exec(t, stormy[5:]...)
		r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
		if all := run.table("public.t").CopyChunks; int(read.Load())+had != all {
			t.Errorf("%d chunks are read, of %d, of which %d were there", read.Load(), all, had)
		}
		r.equal(run)
		run.stop()
		r.drain()
		r.equal(nil)
	})
}
