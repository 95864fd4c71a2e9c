package hudi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/long"
	"lakefeed/internal/seed"
	"lakefeed/storage"
)

// A soak of a writer and of services beside it, each a process of its own that is killed
// at random. The writer's transactions are numbered, and what each does follows from its
// number: so what the table must hold follows from how many of them are in it.

// soakChange is what transaction n of the writer does whose keys begin with a prefix.
func soakChange(prefix string, n int) (up map[string]modelRow, del []string) {
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	up = map[string]modelRow{prefix + "last": {seq: int64(n)}, fmt.Sprint(prefix, "gone", n): {seq: int64(n)}}
	for i := range 2 + rnd.IntN(3) {
		up[fmt.Sprintf("%snew%d-%d", prefix, n, i)] = modelRow{name: "new", seq: int64(n), data: strings.Repeat("x", rnd.IntN(200))}
	}
	for range rnd.IntN(12) {
		up[fmt.Sprint(prefix, "hot", rnd.IntN(60))] = modelRow{name: "hot", price: rnd.Int64N(1e6), seq: int64(n)}
	}
	if n > 1 {
		del = []string{fmt.Sprint(prefix, "gone", n-1)}
	}
	return up, del
}

// soakLedger knows what the table holds after each transaction of a writer. It is used by
// several goroutines.
type soakLedger struct {
	prefix       string // of the writer's keys
	begun, acked atomic.Int64
	tries        atomic.Int64 // those that met a conflict too

	mu    sync.Mutex
	rows  map[string]modelRow // after transaction n
	n     int
	sums  []soakSum // after each transaction
	kills map[string]int
}

func newSoakLedger(prefix string) *soakLedger {
	return &soakLedger{prefix: prefix, rows: map[string]modelRow{}, sums: []soakSum{{}}, kills: map[string]int{}}
}

// soakSum is what a reader of all rows can tell in short.
type soakSum struct {
	rows, seq int64 // their number, and the sum of their column seq
}

// upTo goes on to transaction n and returns what a reader sees of the table then.
func (l *soakLedger) upTo(n int) soakSum {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; l.n < n; l.n++ {
		up, del := soakChange(l.prefix, l.n+1)
		for _, k := range del {
			delete(l.rows, k)
		}
		maps.Copy(l.rows, up)
		l.sums = append(l.sums, sumOf(l.rows))
	}
	return l.sums[n]
}

func sumOf(rows map[string]modelRow) soakSum {
	s := soakSum{rows: int64(len(rows))}
	for _, r := range rows {
		s.seq += r.seq
	}
	return s
}

// check holds what a reader saw, of which last is the newest transaction, against what
// was acknowledged before it began to read.
func (l *soakLedger) check(reader string, acked, last int64, seen soakSum) error {
	if begun := l.begun.Load(); last < acked || last > begun {
		return fmt.Errorf("%s saw transaction %d; %d were acknowledged before it began, %d had begun when it ended", reader, last, acked, begun)
	}
	if want := l.upTo(int(last)); seen != want {
		return fmt.Errorf("%s saw %+v at transaction %d, want %+v", reader, seen, last, want)
	}
	return nil
}

const soakCheckpoint = "soak"

// soakShared is the table as all processes have it.
func soakShared(t *testing.T, dir string) *shared {
	t.Helper()
	return &shared{store: fileStore(t, dir), typ: MergeOnRead, buckets: 8, lock: func(s storage.Store) lock.Locker {
		return lock.NewStorage(s, lock.StorageOptions{Validity: time.Second, Renew: 100 * time.Millisecond, Poll: 5 * time.Millisecond})
	}, set: func(o *Options) {
		o.Services = &ServicesOptions{} // they run in a process of their own
		o.Concurrency.Heartbeat, o.Concurrency.HeartbeatMisses = 200*time.Millisecond, 4
	}}
}

// soakChild is what killServices asks of a process of its own: the role and the
// table's folder.
const soakChild = "LAKEFEED_SOAK_CHILD"

// TestServicesSoakChild is the part of killServices that runs in other processes,
// until they are killed.
func TestServicesSoakChild(t *testing.T) {
	role, dir, ok := strings.Cut(os.Getenv(soakChild), ":")
	if !ok {
		t.Skip("started by killServices")
	}
	s := soakShared(t, dir)
	table := s.open(t, s.store)
	if role == "services" {
		clustering := s.open(t, s.store)
		go func() {
			endChild("clustering", clustering.RunServices(context.WithoutCancel(t.Context()), ServicesOptions{
				Cluster: &ClusterOptions{SortBy: []string{"name"}, MaxBytes: 32 << 10}, Every: 2 * time.Second,
			}))
		}()
		endChild("services", table.RunServices(t.Context(), ServicesOptions{
			Compact: &CompactOptions{MinDeltaCommits: 3, MaxGroups: 5}, Clean: &CleanOptions{Retain: 5 * time.Second},
			Archive: &ArchiveOptions{KeepMin: 100, KeepMax: 150}, Every: 300 * time.Millisecond,
		}))
	}
	ledger := newSoakLedger("")
	value, _, err := table.LastExtra(t.Context(), soakCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(value) // 0 before the first
	for tick := time.Tick(25 * time.Millisecond); ; <-tick {
		n++
		say(t, "begin", n)
		if err := ledger.write(t.Context(), table, n); err != nil {
			t.Fatal(err)
		}
		say(t, "committed", n)
	}
}

// endChild ends a process of killServices that was to go on for ever, and says why.
func endChild(what string, err error) {
	_, _ = fmt.Fprintln(os.Stdout, what, err)
	os.Exit(1)
}

func say(t *testing.T, what string, n int) {
	t.Helper()
	if _, err := fmt.Fprintln(os.Stdout, what, n); err != nil {
		t.Fatal(err)
	}
}

// write writes the writer's transaction n, over conflicts.
func (l *soakLedger) write(ctx context.Context, table *Table, n int) error {
	up, del := soakChange(l.prefix, n)
	return table.Retry(ctx, func(ctx context.Context) error {
		l.tries.Add(1)
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			return err
		}
		m := &model{table: table}
		if err = m.write(ctx, x, up, del); err == nil {
			_, err = x.Commit(ctx, map[string]string{soakCheckpoint: strconv.Itoa(n)})
		}
		if err != nil {
			return errors.Join(err, x.Abort(ctx))
		}
		return nil
	})
}

// TestServicesLong kills a writer, and services that run beside it, at random for ten
// seconds. Meanwhile Lakefeed and hudi-rs read the table all the time, and see whole
// transactions, all that were acknowledged among them. At the end no row is lost, the table
// is sound, and nothing is left that no reader needs.
func TestServicesLong(t *testing.T) {
	long.Test(t)
	killServices(t, 10*time.Second)
}

// TestServicesSoak does so for ten minutes.
func TestServicesSoak(t *testing.T) {
	if !soak() {
		t.Skip("make soak runs it")
	}
	killServices(t, 10*time.Minute)
}

func killServices(t *testing.T, last time.Duration) {
	t.Helper()
	t.Parallel()
	seed := seed.New(t)
	dir := t.TempDir()
	s := soakShared(t, dir)
	table := s.create(t)
	ledger, rs := newSoakLedger(""), findHudiRS(t)
	if err := ledger.write(t.Context(), table, 1); err != nil {
		t.Fatal(err)
	}
	ledger.begun.Store(1)
	ledger.acked.Store(1)

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i, role := range []string{"writer", "services"} {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() { ledger.keepKilling(ctx, t, rnd, role, dir) })
	}
	var reads, foreign int
	running.Go(func() { reads = soakLedgers{ledger}.readOn(ctx, t, s.open(t, s.store)) })
	running.Go(func() { foreign = soakLedgers{ledger}.readForeign(ctx, t, rs, dir) })
	select {
	case <-time.After(last):
	case <-ctx.Done():
	}
	stop()
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	instants, compactions := ledger.checkEnd(t, s)
	if reads == 0 || foreign == 0 && rs != "" || compactions == 0 {
		t.Errorf("%d reads, %d of hudi-rs, %d compactions: want some of each", reads, foreign, compactions)
	}
	t.Logf("%v killed; %d transactions, %d compactions in the last %d instants; %d reads, %d of hudi-rs",
		ledger.kills, ledger.acked.Load(), compactions, instants, reads, foreign)
}

// keepKilling starts processes of a role and kills each after a while.
func (l *soakLedger) keepKilling(ctx context.Context, t *testing.T, rnd *rand.Rand, role, dir string) {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestServicesSoakChild$", "-test.timeout", "0")
		cmd.Env = append(os.Environ(), soakChild+"="+role+":"+dir)
		var panicked strings.Builder
		cmd.Stderr = &panicked
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Error(err)
			return
		}
		kill := time.AfterFunc(time.Duration(300+rnd.IntN(5000))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		said := l.listen(out)
		_ = cmd.Wait() // it was killed
		if kill.Stop() && ctx.Err() == nil {
			t.Errorf("the %s ended by itself: %s%s", role, said, panicked.String())
			return
		}
		l.mu.Lock()
		l.kills[role]++
		l.mu.Unlock()
	}
}

// listen notes what a writer says of its transactions, and returns what else it says.
func (l *soakLedger) listen(out io.Reader) string {
	var other []string
	for in := bufio.NewScanner(out); in.Scan(); {
		what, number, _ := strings.Cut(in.Text(), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err == nil && what == "begin":
			l.begun.Store(n)
		case err == nil && what == "committed":
			l.acked.Store(n)
		default:
			other = append(other, in.Text())
		}
	}
	return strings.Join(other, "\n")
}

// checkEnd recovers and cleans the table and holds it against the ledger.
func (l *soakLedger) checkEnd(t *testing.T, s *shared) (instants, compactions int) {
	t.Helper()
	table := s.open(t, s.store)
	awaitRecovered(t, s, table)
	rows := mustRead(t, table, ReadOptions{})
	last := rows["last"].seq
	if acked := l.acked.Load(); last != acked && last != acked+1 {
		t.Errorf("the table ends with transaction %d; %d was acknowledged", last, acked)
	}
	l.upTo(int(last))
	if l.n == int(last) { // no reader was further
		compareRows(t, rows, l.rows)
	}
	instants, compactions = len(table.Timeline().Completed()), countCompactions(table)
	if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Clean(t.Context(), CleanOptions{RetainVersions: 1}); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), rows)
	report, err := Check(t.Context(), s.store, CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Faults {
		if f.Severity != Note {
			t.Errorf("%v", f)
		}
	}
	l.checkFiles(t, s, table)
	return instants, compactions
}

func countCompactions(table *Table) (n int) {
	for _, i := range table.Timeline().Completed() {
		if i.Action == timeline.Compaction {
			n++
		}
	}
	return n
}

// checkFiles sees that of each file group one file is left, its base file.
func (l *soakLedger) checkFiles(t *testing.T, s *shared, table *Table) {
	t.Helper()
	needed := map[string]bool{}
	for _, slice := range table.Slices() {
		for _, f := range slice.files() {
			needed[f.Path()] = true
		}
	}
	for info, err := range s.store.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := parseDataFile(info.Name, info.Size); ok && !needed[f.Path()] {
			t.Errorf("orphan: %s", info.Name)
		}
	}
}
