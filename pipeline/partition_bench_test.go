package pipeline_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
)

// BenchmarkPartitioned compares a table of 100 day partitions with one of the same
// 200,000 rows in one folder, in one run: rounds that change 20,000 of them, a tenth of
// which move to another day, either all over the table or in its last ten days.
func BenchmarkPartitioned(b *testing.B) {
	const rows, changed = 200_000, 20_000
	for _, by := range []string{"", "day(at)"} {
		for which, where := range map[string]string{"spread": fmt.Sprintf("id %% %d = $", rows/changed), "recent": fmt.Sprintf("id > %d", rows-changed)} {
			b.Run(fmt.Sprintf("by=%s/%s", by, which), func(b *testing.B) {
				r := newRig(b, `create table t (id int primary key, at timestamptz not null, n int not null, body text)`,
					fmt.Sprintf(`insert into t select i, timestamptz '2026-01-01' + i * interval '43 seconds', 0, repeat(md5(i::text), 4) from generate_series(1, %d) i`, rows))
				r.mods = append(r.mods, benchOptions(b, by))
				began := cpuTime()
				r.drain()
				copied := cpuTime() - began
				round := func(i int) time.Duration {
					r.db.Exec(b, `update t set n = n + 1, at = case when id % 10 = 0 then at + interval '1 day' else at end where `+
						strings.Replace(where, "$", strconv.Itoa(i%(rows/changed)), 1))
					began := cpuTime()
					r.drain()
					return cpuTime() - began
				}
				round(0) // reads the keys that were copied
				var spent time.Duration
				for i := 1; b.Loop(); i++ {
					spent += round(i)
				}
				b.ReportMetric(spent.Seconds()/float64(b.N), "cpu-s/round")
				b.ReportMetric(copied.Seconds(), "cpu-s/copy")
			})
		}
	}
}

func benchOptions(b *testing.B, by string) func(*options) {
	b.Helper()
	o, index := pipeline.TableOptions{Type: hudi.MergeOnRead}, b.TempDir()
	if by != "" {
		f, err := pipeline.ParsePartitionField(by)
		if err != nil {
			b.Fatal(err)
		}
		o.PartitionBy = []pipeline.PartitionField{f}
	}
	return func(p *options) {
		p.Table = func(*change.Table) pipeline.TableOptions { return o }
		p.CompactAfter, p.MemoryBudget, p.RetainCommits, p.IndexDir = 1000, 128<<20, 10, index
	}
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
