package hudi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/storage"
	"lakefeed/storage/file"
)

// life is a table's life in fast motion: commit upon commit, with all services inline.
type life struct {
	t     *testing.T
	rnd   *rand.Rand
	table *Table
	rows  map[string]modelRow

	commits []time.Duration // processor time of each, with the services behind it
	marks   []lifeMark
}

// lifeMark is how the table is after a number of commits.
type lifeMark struct {
	commits  int
	commit   time.Duration // median since the last mark: most are followed by no service
	mean     time.Duration // with the services
	read     time.Duration // processor time of all rows
	files    int           // in the table's folder, all kinds
	timeline int           // of these on the timeline
	bytes    int64
}

const lifeKeys = 5000

func (l *life) commit() {
	l.t.Helper()
	up := map[string]modelRow{}
	for range 50 {
		up[fmt.Sprint("k", l.rnd.IntN(lifeKeys))] = modelRow{name: "name", price: l.rnd.Int64N(1e6), seq: int64(len(l.commits)), data: "data"}
	}
	began := cpuTime(l.t)
	mustUpsert(l.t, l.table, up)
	l.commits = append(l.commits, cpuTime(l.t)-began)
	maps.Copy(l.rows, up)
}

// mark looks at the table through the eyes of somebody who opens it.
func (l *life) mark(ctx context.Context, every int) {
	l.t.Helper()
	since := l.commits[len(l.commits)-every:]
	m := lifeMark{commits: len(l.commits), commit: median(since)}
	for _, d := range since {
		m.mean += d / time.Duration(every)
	}
	began := cpuTime(l.t)
	table, err := Open(ctx, l.table.store, l.table.opts)
	if err != nil {
		l.t.Fatal(err)
	}
	got, err := readModel(ctx, table, ReadOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	m.read = cpuTime(l.t) - began
	compareRows(l.t, got, l.rows)
	for info, err := range l.table.store.List(ctx, "", true) {
		if err != nil {
			l.t.Fatal(err)
		}
		m.files++
		m.bytes += info.Size
		if path.Dir(info.Name) == metaFolder {
			m.timeline++
		}
	}
	l.marks = append(l.marks, m)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// live makes commits and marks every so many.
func live(t *testing.T, store storage.Store, retain int, archive ArchiveOptions, commits, every int) *life {
	t.Helper()
	l := &life{t: t, rnd: rand.New(rand.NewPCG(1, 1)), table: newTable(t, store, MergeOnRead, 2), rows: map[string]modelRow{}}
	l.table.opts.Services = &ServicesOptions{
		Compact: &CompactOptions{MinDeltaCommits: 10}, Cluster: &ClusterOptions{MinCommits: 45, SortBy: []string{"price"}},
		Clean: &CleanOptions{RetainCommits: retain}, Archive: &archive, Failed: func(err error) { t.Error(err) },
	}
	for len(l.commits) < commits {
		l.commit()
		if len(l.commits)%every == 0 {
			l.mark(t.Context(), every)
		}
	}
	return l
}

// TestLife sees that a table's folder and timeline do not grow with its history.
func TestLife(t *testing.T) {
	t.Parallel()
	l := live(t, newStore(t), 10, ArchiveOptions{KeepMin: 15, KeepMax: 25, MaxArchiveBytes: 1}, 200, 20)
	checkBounded(t, l.marks[3:], func(m lifeMark) int { return m.files }, 1.5)
	checkBounded(t, l.marks[3:], func(m lifeMark) int { return m.timeline }, 1.5)
	if last := l.marks[len(l.marks)-1]; last.files > 150 {
		t.Errorf("%d files in the end", last.files)
	}
}

// checkBounded compares the greatest figure of the second half with that of the first.
func checkBounded[N cmp.Ordered](t *testing.T, marks []lifeMark, figure func(lifeMark) N, most float64) {
	t.Helper()
	half := len(marks) / 2
	by := func(a, b lifeMark) int { return cmp.Compare(figure(a), figure(b)) }
	first, second := slices.MaxFunc(marks[:half], by), slices.MaxFunc(marks[half:], by)
	a, b := toFloat(figure(first)), toFloat(figure(second))
	if b > most*a {
		t.Errorf("%v after %d commits, %v after %d", a, first.commits, b, second.commits)
	}
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case time.Duration:
		return v.Seconds()
	default:
		return 0
	}
}

// TestLifeSoak is a week of a commit a minute, ten thousand of them, and plots it.
func TestLifeSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("LAKEFEED_SOAK is not set")
	}
	store, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := live(t, store, 20, ArchiveOptions{MaxArchiveBytes: 16 << 20}, 10_000, 100)
	marks := l.marks[3:]
	checkBounded(t, marks, func(m lifeMark) int { return m.files }, 1.1)
	checkBounded(t, marks, func(m lifeMark) int { return m.timeline }, 1.1)
	checkBounded(t, marks, func(m lifeMark) int64 { return m.bytes }, 1.5)
	quarter := len(marks) / 4
	for name, figure := range map[string]func(lifeMark) time.Duration{
		"commit":               func(m lifeMark) time.Duration { return m.commit },
		"commit with services": func(m lifeMark) time.Duration { return m.mean },
		"read":                 func(m lifeMark) time.Duration { return m.read },
	} {
		first, last := medianOf(marks[:quarter], figure), medianOf(marks[len(marks)-quarter:], figure)
		t.Logf("%s: %v in the first quarter, %v in the last", name, first, last)
		if last > first*3/2 {
			t.Errorf("%s took %v in the first quarter and %v in the last", name, first, last)
		}
	}
	if err := os.WriteFile(filepath.Join("..", "bench", "results", "life.svg"), []byte(plotLife(l.marks)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "bench", "results", "life.md"), []byte(tellLife(t, l.marks)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func medianOf(marks []lifeMark, figure func(lifeMark) time.Duration) time.Duration {
	out := make([]time.Duration, len(marks))
	for i, m := range marks {
		out[i] = figure(m)
	}
	return median(out)
}

// tellLife is the record of a run.
func tellLife(t *testing.T, marks []lifeMark) string {
	t.Helper()
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# A week's life in fast motion

%s, commit %s. `+"`TestLifeSoak`"+`: %d commits of 50 rows to a merge-on-read table of %d keys in 2 buckets on a local disk. All services run inline: a compaction every ten
commits, a clustering every 45, a cleaning that keeps 20 commits, and archiving, the archive bounded by 16 MiB. Times are of the processor. A commit's is the median of the hundred before, and their mean with the services; reading opens
the table anew and reads and compares all rows. Plotted in [life.svg](life.svg).

| commits | commit ms | with services ms | read ms | files | of these on the timeline | MiB |
|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), marks[len(marks)-1].commits, lifeKeys)
	for i, m := range marks {
		if i%5 == 4 || i == 0 {
			fmt.Fprintf(&b, "| %d | %.2f | %.1f | %.0f | %d | %d | %.1f |\n", m.commits, m.commit.Seconds()*1e3, m.mean.Seconds()*1e3, m.read.Seconds()*1e3, m.files, m.timeline, float64(m.bytes)/(1<<20))
		}
	}
	return b.String()
}

// plotLife draws each figure in a field of its own, from 0 to its maximum.
func plotLife(marks []lifeMark) string {
	fields := []struct {
		name   string
		figure func(lifeMark) float64
	}{
		{"commit, processor ms (median)", func(m lifeMark) float64 { return m.commit.Seconds() * 1e3 }},
		{"commit with services, ms (mean)", func(m lifeMark) float64 { return m.mean.Seconds() * 1e3 }},
		{"open and read, ms", func(m lifeMark) float64 { return m.read.Seconds() * 1e3 }},
		{"files", func(m lifeMark) float64 { return float64(m.files) }},
		{"files on the timeline", func(m lifeMark) float64 { return float64(m.timeline) }},
		{"MiB", func(m lifeMark) float64 { return float64(m.bytes) / (1 << 20) }},
	}
	const width, height, gap = 720, 110, 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width+80, (height+gap)*len(fields)+gap)
	fmt.Fprintln(&b, `<rect width="100%" height="100%" fill="white"/>`)
	last := float64(marks[len(marks)-1].commits)
	for n, f := range fields {
		top := gap/2 + n*(height+gap)
		most := 0.0
		for _, m := range marks {
			most = max(most, f.figure(m))
		}
		fmt.Fprintf(&b, `<text x="60" y="%d">%s</text><text x="4" y="%d">%.4g</text><text x="4" y="%d">0</text>`+"\n", top+8, f.name, top+24, most, top+16+height)
		fmt.Fprintf(&b, `<rect x="60" y="%d" width="%d" height="%d" fill="none" stroke="#ccc"/><polyline fill="none" stroke="#06c" points="`, top+16, width, height)
		for _, m := range marks {
			fmt.Fprintf(&b, "%.1f,%.1f ", 60+width*float64(m.commits)/last, float64(top+16+height)-float64(height)*f.figure(m)/max(most, 1e-9))
		}
		fmt.Fprintln(&b, `"/>`)
	}
	fmt.Fprintf(&b, `<text x="60" y="%d">commits: 0 to %.0f</text>`+"\n</svg>\n", (height+gap)*len(fields)+gap/2, last)
	return b.String()
}
