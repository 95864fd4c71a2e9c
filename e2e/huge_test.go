package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestHugeTransactionLong: one transaction with a part that is rolled back, of which far more comes
// than fits in the memory that there is, in parts and while it is in progress.
func TestHugeTransactionLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	huge(t, 60_000, &fatRow, "memory_budget: 4MiB", 192<<20)
}

// TestHugeTransactionSoak is the same for 100 M rows (or LAKEFEED_SOAK_ROWS), under 512 MiB of
// memory: narrow ones where the disk has no room for others. It fails where not even for these.
func TestHugeTransactionSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	rows, row := 100_000_000, wideRow
	var disk syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &disk); err != nil {
		t.Fatal(err)
	}
	asked := os.Getenv("LAKEFEED_SOAK_ROWS")
	switch free := disk.Bavail * uint64(disk.Bsize); {
	case asked == "" && free < 30<<30:
		t.Fatalf("%s has %d GiB free, and 100 M rows need 30: name another folder by TMPDIR, or fewer rows by LAKEFEED_SOAK_ROWS", os.TempDir(), free>>30)
	case free < 120<<30:
		row = narrowRow
		t.Logf("%d GiB of disk are enough for 100 M narrow rows", free>>30)
	}
	if asked != "" {
		if _, err := fmt.Sscan(asked, &rows); err != nil {
			t.Fatal(err)
		}
	}
	huge(t, rows, &row, "commit_interval: 10s", 512<<20)
}

// hugeRow is how the table of a huge transaction is made and filled.
type hugeRow struct {
	create, first string
	insert        func(from, n int) string
	change        string
}

var (
	wideRow = hugeRow{
		`CREATE TABLE t (id bigint PRIMARY KEY, n int, v text)`, `INSERT INTO t VALUES (-1, 0, 'before')`,
		func(from, n int) string {
			return fmt.Sprintf(`INSERT INTO t SELECT i, i %% 100, 'row ' || i FROM generate_series(%d, %d) i;`, from, from+n-1)
		},
		`UPDATE t SET n = n + 1 WHERE id % 10 = 0;`,
	}
	fatRow = hugeRow{ // which PostgreSQL leaves as they are
		wideRow.create, wideRow.first,
		func(from, n int) string {
			return fmt.Sprintf(`INSERT INTO t SELECT i, i %% 100, 'row ' || i || repeat(' and more', 200) FROM generate_series(%d, %d) i;`, from, from+n-1)
		},
		wideRow.change,
	}
	narrowRow = hugeRow{
		`CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (-1)`,
		func(from, n int) string { // many rows to a record of the log
			return fmt.Sprintf(`COPY t FROM PROGRAM 'seq %d %d';`, from, from+n-1)
		},
		"",
	}
)

func huge(t *testing.T, rows int, row *hugeRow, key string, most int64) {
	t.Helper()
	db := pgtest.NewDatabase(t)
	db.Exec(t, row.create, row.first)
	if rows < 1_000_000 { // else it comes in parts anyway
		db.Exec(t, "ALTER DATABASE "+db.Name+" SET logical_decoding_work_mem = '64kB'")
	}
	b := newBad(t, db.URL, allTables, "    "+key+"\n    spill_dir: "+t.TempDir())
	b.Run(0, "run", "--once") // without the time limit of b.once
	began := time.Now()
	db.Exec(t, `BEGIN;`+row.insert(0, rows/2)+`SAVEPOINT a;`+row.insert(rows/2, rows/10)+`ROLLBACK TO a;`+
		row.insert(rows/2, rows/2)+row.change+`DELETE FROM t WHERE id % 100 = 7; COMMIT`)
	t.Logf("the transaction of %d rows took %s", rows, time.Since(began).Round(time.Second))
	began = time.Now()
	cmd := b.Command(context.Background(), "run", "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("it is in the lake after %s, %s of CPU time, %d MiB at most", time.Since(began).Round(time.Second), cpu(cmd), used.Maxrss>>10)
	if used.Maxrss<<10 > most {
		t.Errorf("%d MiB of memory, want %d", used.Maxrss>>10, most>>20)
	}
	// Until the slot has passed a record of running transactions, each start decodes the
	// transaction again, and the server spills it, on its own disk.
	db.Exec(t, "CHECKPOINT")
	b.Run(0, "run", "--once")
	text := b.Run(0, "validate")
	if want := strconv.Itoa(rows - rows/100 + 1); !strings.Contains(strings.ReplaceAll(text, ",", ""), want) {
		t.Errorf("validate does not count %s rows:\n%s", want, text)
	}
}

func cpu(cmd *exec.Cmd) time.Duration {
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(100 * time.Millisecond)
}
