package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

// phases are what a kill can hit, in the order of a change's path.
var phases = []string{"copy", "capture", "reduce", "marker", "data file", "log append", "publish", "ack", "rollback", "compaction", "clean"}

// TestCrash kills lakefeed 20 times at random under load, at least once in each phase.
func TestCrash(t *testing.T) { crash(t, 20, 1) }

// TestCrashSoak kills it 200 times, at least five times in each phase.
func TestCrashSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	crash(t, 200, 5)
}

func crash(t *testing.T, kills, least int) {
	t.Parallel()
	seed, rng := newSeed(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, loadSchema...)
	l := laketest.New(t, db.URL, `      - match: public.folded
        table_type: copy_on_write
      - match: public.*`, `    commit_interval: 200ms
    compact_after: 2
    retain_commits: 1`)
	load := startLoad(t, db, seed)
	hits := map[string]int{}
	for i := range kills {
		want := phases[i%len(phases)]
		if i >= least*len(phases) {
			want = phases[rng.IntN(len(phases))]
		}
		if want == "copy" { // only a table that is new has a first copy to be killed in
			load.newTable(i)
		}
		hit, err := killIn(l, want, rng)
		if err != nil {
			t.Fatalf("seed %d, kill %d (%s): %v", seed, i, want, err)
		}
		hits[hit]++
		load.check()
	}
	load.stop()
	var counts []string
	for _, p := range phases {
		counts = append(counts, fmt.Sprintf("%s %d", p, hits[p]))
	}
	t.Logf("seed %d, %d kills: %s; the load made %d transactions", seed, kills, strings.Join(counts, ", "), load.transactions)
	l.Run(0, "run", "--once")
	t.Log(l.Run(0, "validate"))
	for _, p := range phases {
		if hits[p] < least {
			t.Errorf("seed %d: %d kills in phase %s, want %d at least", seed, hits[p], p, least)
		}
	}
}

// newSeed is the seed of a random test, from LAKEFEED_SEED where that is set.
func newSeed(t *testing.T) (uint64, *rand.Rand) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LAKEFEED_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// killIn kills lakefeed in the wanted phase, and returns the phase that the kill hit.
// For a rollback, a kill before it must leave something to roll back: one that comes
// when the commit has just been made does not, and is repeated.
func killIn(l *laketest.Lake, want string, rng *rand.Rand) (string, error) {
	if want != "rollback" {
		return killWhen(l, want, rng, 90*time.Second)
	}
	var hit string
	err := errNoPhase
	for try := 0; errors.Is(err, errNoPhase) && try < 10; try++ {
		if _, err := killWhen(l, "data file", rng, 90*time.Second); err != nil {
			return "", err
		}
		hit, err = killWhen(l, want, rng, 15*time.Second)
	}
	return hit, err
}

var errNoPhase = errors.New("lakefeed did not enter the phase")

// killWhen runs lakefeed until it enters the wanted phase, at a random time of the
// many that it does, and kills it there, or after limit.
func killWhen(l *laketest.Lake, want string, rng *rand.Rand, limit time.Duration) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := l.Command(ctx, "run", "--listen", "127.0.0.1:0")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), "LAKEFEED_PHASES=3")
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_ = w.Close()
	hit := killInPhase(r, want, rng, cmd)
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		return "", fmt.Errorf("lakefeed ended by itself: %w\n%s", err, out.String())
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("%w %s\n%s", errNoPhase, want, out.String())
	}
	return hit, nil
}

// killInPhase kills the process in the wanted phase.
func killInPhase(r *os.File, want string, rng *rand.Rand, cmd *exec.Cmd) string {
	skip := rng.IntN(3)
	if want == "copy" || want == "rollback" {
		skip = 0 // they come once
	}
	delay := time.Duration(rng.IntN(2000)) * time.Microsecond
	for in := bufio.NewScanner(r); in.Scan(); {
		if in.Text() != want {
			continue
		}
		if skip--; skip >= 0 {
			continue
		}
		for began := time.Now(); time.Since(began) < delay; { // finer than a sleep
		}
		_ = cmd.Process.Kill() // Wait says if it was gone
		return want
	}
	return ""
}

// loadSchema is what the load works on: wide values that updates leave alone,
// composite and text keys, a table without a key, one that is copy-on-write.
var loadSchema = []string{
	`create table wide (id int primary key, n bigint not null, amount numeric(12,2), body text, doc jsonb)`,
	`alter table wide alter body set storage external`,
	`create table pairs (a text, b int, v text, primary key (a, b))`,
	`create table folded (id int primary key, v text, at timestamptz default now())`,
	`create table events (at timestamptz not null default now(), kind text, n int)`,
	`insert into wide select i, 0, i/3.0, repeat(md5(i::text), 300), '{"a":[1,2]}' from generate_series(1, 500) i`,
	`insert into folded select i, 'first' from generate_series(1, 500) i`,
	`insert into events select now(), 'first', i from generate_series(1, 200) i`,
}

// load is a random workload that runs beside lakefeed.
type load struct {
	t            *testing.T
	db           *pgtest.Database
	stopping     context.CancelFunc
	done         sync.WaitGroup
	transactions int
	outages      bool // the server stops now and then: a lost connection is made anew

	mu  sync.Mutex
	err error
}

func startLoad(t *testing.T, db *pgtest.Database, seed uint64) *load {
	return (&load{t: t, db: db}).start(seed)
}

func (l *load) start(seed uint64) *load {
	t, db := l.t, l.db
	ctx, cancel := context.WithCancel(context.Background())
	l.stopping = cancel
	conn := db.Conn(t)
	l.done.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1))
		for ctx.Err() == nil {
			err := l.transaction(ctx, conn, rng)
			if err != nil && l.outages {
				conn, err = l.again(ctx, conn, err)
			}
			if err != nil && ctx.Err() == nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rng.IntN(4000)) * time.Microsecond):
			}
		}
	})
	t.Cleanup(func() { cancel(); l.done.Wait() })
	return l
}

// again is a new connection where the old one is lost.
func (l *load) again(ctx context.Context, conn *pgx.Conn, err error) (*pgx.Conn, error) {
	if !conn.IsClosed() {
		return conn, err
	}
	for ctx.Err() == nil {
		if c, err := pgx.Connect(ctx, l.db.URL); err == nil {
			return c, nil // the server's end closes it
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return conn, ctx.Err()
}

// check fails the test when a statement of the application failed.
func (l *load) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		l.t.Fatal(l.err)
	}
}

func (l *load) stop() {
	l.stopping()
	l.done.Wait()
	l.check()
}

// newTable makes a table that the next start has to copy.
func (l *load) newTable(n int) {
	l.db.Exec(l.t, fmt.Sprintf(`create table late_%d (id int primary key, v text)`, n),
		fmt.Sprintf(`insert into late_%d select i, repeat('x', i %% 100) from generate_series(1, 20000) i`, n))
}

func (l *load) transaction(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for range 1 + rng.IntN(5) {
		s := statements[rng.IntN(len(statements))]
		if s.truncates && rng.IntN(40) > 0 {
			continue
		}
		var args []any
		for i := 1; strings.Contains(s.sql, fmt.Sprintf("$%d", i)); i++ {
			args = append(args, rng.IntN(600))
		}
		if _, err := tx.Exec(ctx, s.sql, args...); err != nil {
			return fmt.Errorf("%s %v: %w", s.sql, args, err)
		}
	}
	if rng.IntN(10) == 0 {
		return tx.Rollback(ctx)
	}
	l.transactions++
	return tx.Commit(ctx)
}

var statements = []struct {
	sql       string
	truncates bool
}{
	{sql: `insert into wide values ($1, 1, 1.5, repeat(md5(random()::text), 300), '{"new":true}') on conflict (id) do update set n = wide.n + 1`},
	{sql: `update wide set n = n + 1, amount = amount * 1.01 where id between $1 and $1 + 10`},
	{sql: `update wide set body = repeat(md5(random()::text), 200) where id = $1`},
	{sql: `delete from wide where id = $1`},
	{sql: `update wide set id = $2 + 1000 where id = $1 and not exists (select from wide where id = $2 + 1000)`},
	{sql: `insert into pairs values ('k,' || $1::int % 50, $2, 'a:b') on conflict do nothing`},
	{sql: `update pairs set v = v || 'x' where b = $1`},
	{sql: `update pairs set b = b + 1000 where b = $1 and not exists (select from pairs p where p.b = pairs.b + 1000)`},
	{sql: `delete from pairs where b = $1`},
	{sql: `truncate pairs`, truncates: true},
	{sql: `insert into folded values ($1, 'new') on conflict (id) do update set v = 'again ' || $2::int`},
	{sql: `delete from folded where id = $1`},
	{sql: `insert into events (kind, n) values ('e', $1)`},
}
