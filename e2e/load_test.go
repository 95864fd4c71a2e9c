package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/internal/seed"
)

// newSeed is the seed of a random test.
func newSeed(t *testing.T) (uint64, *rand.Rand) {
	t.Helper()
	seed := seed.New(t)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// loadSchema is what the load works on: wide values that updates leave alone,
// composite and text keys, a table without a key, one that is copy-on-write, one that is
// partitioned.
var loadSchema = []string{
	`create table wide (id int primary key, n bigint not null, amount numeric(12,2), body text, doc jsonb)`,
	`alter table wide alter body set storage external`,
	`create table pairs (a text, b int, v text, primary key (a, b))`,
	`create table folded (id int primary key, v text, at timestamptz default now())`,
	`create table parted (id int primary key, region text, at timestamptz not null default now(), n int not null default 0, body text)`,
	`alter table parted alter body set storage external`,
	`create table events (at timestamptz not null default now(), kind text, n int)`,
	`insert into wide select i, 0, i/3.0, repeat(md5(i::text), 300), '{"a":[1,2]}' from generate_series(1, 500) i`,
	`insert into folded select i, 'first' from generate_series(1, 500) i`,
	`insert into parted select i, 'r' || i % 5, timestamptz '2026-01-01' + i * interval '1 hour', 0, repeat(md5(i::text), 100) from generate_series(1, 300) i`,
	`insert into events select now(), 'first', i from generate_series(1, 200) i`,
}

// newLoadLake makes the tables of the load, and the configuration of a pipeline of them;
// keys are more of its keys.
func newLoadLake(t *testing.T, db *pgtest.Database, keys string) *laketest.Lake {
	t.Helper()
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET logical_decoding_work_mem = '64kB'") // transactions come in parts
	db.Exec(t, loadSchema...)
	return laketest.New(t, db.URL, `      - match: public.folded
        table_type: copy_on_write
      - match: public.parted
        partition_by: [region, day(at)]
      - match: public.*`, fmt.Sprintf("    index_dir: %q\n%s", t.TempDir(), keys))
}

// load is a random workload that runs beside lakefeed.
type load struct {
	t            *testing.T
	db           *pgtest.Database
	stopping     context.CancelFunc
	done         sync.WaitGroup
	transactions int

	mu  sync.Mutex
	err error
}

// startLoad works on the tables of newLoadLake until it is stopped.
func startLoad(t *testing.T, db *pgtest.Database, seed uint64) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, db: db, stopping: cancel}
	conn := db.Conn(t)
	l.done.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1))
		for ctx.Err() == nil {
			err := l.transaction(ctx, conn, rng)
			if err != nil {
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

// again is a new connection where the old one is lost, because a test stops the server.
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
	{sql: `truncate wide; insert into wide select i, 0, i/3.0, repeat(md5(i::text), 300), '{"a":[1,2]}' from generate_series(1, 500, 2) i`, truncates: true},
	{sql: `insert into folded values ($1, 'new') on conflict (id) do update set v = 'again ' || $2::int`},
	{sql: `delete from folded where id = $1`},
	{sql: `insert into parted values ($1, 'r' || $2::int % 5, timestamptz '2026-01-01' + $2::int * interval '1 hour', 1, repeat(md5(random()::text), 100)) on conflict (id) do update set n = parted.n + 1`},
	{sql: `update parted set region = 'r' || (n + $2::int) % 6, n = n + 1 where id between $1 and $1 + 5`},
	{sql: `update parted set at = at + interval '1 day' where id = $1`},
	{sql: `update parted set id = $2 + 1000, region = null where id = $1 and not exists (select from parted where id = $2 + 1000)`},
	{sql: `delete from parted where id = $1`},
	{sql: `insert into events (kind, n) values ('e', $1)`},
}
