package hudi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/pgserver"
)

// soakLedgers are those of all writers of a table. Its readers hold what they see against
// each: all of its transactions up to one of them, and that one no older than what was
// acknowledged before they began.
type soakLedgers []*soakLedger

// acked are the transactions that have been acknowledged, of each writer the newest.
func (s soakLedgers) acked() (n []int64) {
	for _, l := range s {
		n = append(n, l.acked.Load())
	}
	return n
}

// readOn reads the table with a Table of its own until ctx ends.
func (s soakLedgers) readOn(ctx context.Context, t *testing.T, table *Table) (reads int) {
	for ; ctx.Err() == nil; reads++ {
		acked := s.acked()
		err := table.Refresh(ctx)
		var rows map[string]modelRow
		if err == nil {
			rows, err = readModel(ctx, table, ReadOptions{})
		}
		for i, l := range s {
			if err == nil {
				own := l.own(rows)
				err = l.check("Lakefeed", acked[i], own[l.prefix+"last"].seq, sumOf(own))
			}
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return reads
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
	return reads
}

// own are the rows of the ledger's writer.
func (l *soakLedger) own(rows map[string]modelRow) map[string]modelRow {
	own := map[string]modelRow{}
	for k, r := range rows {
		if strings.HasPrefix(k, l.prefix) {
			own[k] = r
		}
	}
	return own
}

// pauseFor waits, less where ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// soakReader lets hudi-rs read a table once for each line that it gets. It answers with three
// numbers for each prefix of keys: the newest transaction, the rows, and the sum of their seq. hudi-rs lists
// the timeline and then reads its instants: one that is archived meanwhile it misses, and reads anew.
const soakReader = `
import sys
from hudi import HudiTableBuilder, HudiReadOptions
import pyarrow as pa
def read(tries=5):
    try:
        return HudiTableBuilder.from_base_uri(sys.argv[1]).build().read(HudiReadOptions())
    except Exception as e:
        if tries > 1 and "/.hoodie/" in str(e) and "not found" in str(e):
            return read(tries - 1)
        raise
for _ in sys.stdin:
    try:
        rows = pa.Table.from_batches([pa.record_batch(b) for b in read()])
        seq = dict(zip(rows["id"].to_pylist(), rows["seq"].to_pylist()))
        assert len(seq) == rows.num_rows, "a key comes twice"
        answer = []
        for prefix in sys.argv[2:]:
            own = [v for k, v in seq.items() if k.startswith(prefix)]
            answer += [seq[prefix + "last"], len(own), sum(own)]
        print(*answer, flush=True)
    except Exception as e:
        print("error:", str(e).replace("\n", " "), flush=True)
`

// findHudiRS is the Python that has hudi-rs, or "" where it is not installed. CI must have it.
func findHudiRS(t *testing.T) string {
	t.Helper()
	venv := filepath.Join(pgserver.CacheDir(), "interop", "venv")
	if _, err := os.Stat(filepath.Join(venv, "stamp")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("hudi-rs is not installed: %v; make setup does it", err)
		}
		t.Log("hudi-rs is not installed: it does not read")
		return ""
	}
	return filepath.Join(venv, "bin", "python")
}

// readForeign lets hudi-rs read the table until ctx ends.
func (s soakLedgers) readForeign(ctx context.Context, t *testing.T, python, dir string) (reads int) {
	if python == "" {
		return 0
	}
	args := []string{"-c", soakReader, dir}
	for _, l := range s {
		args = append(args, l.prefix)
	}
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	var out io.Reader
	if err == nil {
		out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = cmd.Wait() }() // it was killed
	for answers := bufio.NewScanner(out); ; reads++ {
		acked := s.acked()
		if _, err := fmt.Fprintln(in); err == nil && answers.Scan() {
			err = s.checkForeign(acked, answers.Text())
			if err == nil {
				pauseFor(ctx, 100*time.Millisecond)
				continue
			}
			t.Error(err)
		} else if ctx.Err() == nil {
			t.Errorf("hudi-rs ended: %v, %v", err, answers.Err())
		}
		return reads
	}
}

func (s soakLedgers) checkForeign(acked []int64, answer string) error {
	in := strings.NewReader(answer)
	for i, l := range s {
		var last int64
		var seen soakSum
		if _, err := fmt.Fscan(in, &last, &seen.rows, &seen.seq); err != nil {
			return fmt.Errorf("hudi-rs: %s", answer)
		}
		if err := l.check("hudi-rs", acked[i], last, seen); err != nil {
			return err
		}
	}
	return nil
}
