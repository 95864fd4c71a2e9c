package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestWideRowsLong copies wide rows in many chunks, which are merged in little memory.
func TestWideRowsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	wide(t, 2000, 100<<10, "2MiB", 320<<20)
}

// wide copies a table of rows of a size, in chunks of a size, in so much memory at most.
func wide(t *testing.T, rows, size int, chunk string, most int64) {
	t.Helper()
	db := pgtest.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 10)", "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
		fmt.Sprintf("INSERT INTO t SELECT i, repeat(md5(i::text), %d) FROM generate_series(1, %d) i", size/32, rows), "ANALYZE t")
	b := newBad(t, db.URL, allTables, "    memory_budget: 16MiB\n    bootstrap: {connections: 1, resume_above: 1MiB, chunk_bytes: "+chunk+"}\n    spill_dir: "+t.TempDir())
	cmd := b.Command(context.Background(), "run", "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "table is copied in chunks") {
		t.Errorf("it is not copied in chunks:\n%s", out)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%d MiB of memory at most, %s of CPU time\n%s", used>>20, cpu(cmd), out)
	if used > most {
		t.Errorf("%d MiB of memory", used>>20)
	}
	b.Run(0, "validate")
}
