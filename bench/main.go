// Command bench measures Lakefeed beside PostgreSQL's own programs, on one machine
// and in one run, so that ratios mean something:
//
//   - the first copy of a table beside COPY of it to /dev/null in the server;
//   - decoding a backlog to checksummed Arrow batches beside pg_recvlogical and Debezium;
//   - the same backlog into committed merge-on-read tables;
//   - one large transaction, which must go through local disk;
//   - decoding rows of 2 and of 100 columns beside pg_recvlogical;
//   - what pgbench loses while Lakefeed, or pg_recvlogical, reads its log.
//
// What is compared runs in turn, several times over. Every measured program is a process of
// its own, whose CPU time and peak memory the kernel reports. The bounds are those
// that bounds.go lists; missing one makes the exit code 1. `make bench` runs it;
// -rows or LAKEFEED_BENCH_ROWS makes it smaller, for trying.
//
// Files: main.go the order of things, server.go the database, process.go what is
// measured and how, lake.go Lakefeed and decode.go its connector alone, debezium.go a peer, shapes.go other
// rows, attached.go the loss of the source, bounds.go and record.go what is written down.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// options are the flags.
type options struct {
	rows    int64
	rounds  int
	dir     string
	results string
	version int
	binary  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == decodeCommand {
		exit(decode(ctx, os.Args[2:]))
	}
	var o options
	flag.Int64Var(&o.rows, "rows", rowsDefault(), "rows of the first copy; the backlog has two fifths as many changes, the large transaction too")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each thing is measured")
	flag.StringVar(&o.dir, "dir", "", "folder for the database and the lakes, 15 GB of it (default: a temporary one)")
	flag.StringVar(&o.results, "results", "", "folder that the record is written into (default: none is)")
	flag.IntVar(&o.version, "postgres", 18, "major version of PostgreSQL; 0 takes any")
	flag.StringVar(&o.binary, "lakefeed", "", "the lakefeed program (default: it is built)")
	flag.Parse()
	exit(o.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func rowsDefault() int64 {
	if n, err := strconv.ParseInt(os.Getenv("LAKEFEED_BENCH_ROWS"), 10, 64); err == nil && n > 0 {
		return n
	}
	return 5_000_000
}

// run measures everything and writes it down.
func (o *options) run(ctx context.Context) error {
	b, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	defer b.clean()
	for _, step := range []func(context.Context) error{b.load, b.firstCopies, b.backlogs, b.transaction, b.shapes, b.attached} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	b.record.judge()
	fmt.Fprint(os.Stderr, "\n", b.record.markdown())
	if o.results != "" {
		if err := b.record.write(o.results); err != nil {
			return fmt.Errorf("write the record: %w", err)
		}
	}
	return b.record.err()
}

// bench is one run.
type bench struct {
	options
	*database
	self   string // this program
	clean  func()
	record record
}

// prepare makes the folder, the lakefeed program and the database.
func (o *options) prepare(ctx context.Context) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if o.rows < 10_000 {
		return nil, fmt.Errorf("-rows %d: at least 10000", o.rows)
	}
	parent := o.dir
	if o.dir, err = os.MkdirTemp(parent, "lakefeed-bench-"); err != nil {
		return nil, err
	}
	b := &bench{options: *o, self: self}
	dir := o.dir
	b.clean = func() { _ = os.RemoveAll(dir) }
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL may run as another user
		return nil, err
	}
	if b.binary == "" {
		b.binary = filepath.Join(dir, "lakefeed")
		if err := build(ctx, b.binary); err != nil {
			b.clean()
			return nil, err
		}
	}
	if b.database, err = newDatabase(ctx, filepath.Join(dir, "pg"), o.version); err != nil {
		b.clean()
		return nil, err
	}
	b.clean = func() {
		_ = b.stop() // its folder goes away
		_ = os.RemoveAll(dir)
	}
	b.record = newRecord(ctx, b.database, o.rows, o.rounds)
	return b, nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// steps is how many steps the backlog has, of 2,000 changes each.
func (b *bench) steps() int64 { return max(b.rows/5000, 1) }

func (b *bench) load(ctx context.Context) error {
	b.say("loading %d rows into PostgreSQL %s", b.rows, b.serverVersion)
	return b.exec(ctx, schema,
		fmt.Sprintf("INSERT INTO orders SELECT * FROM make_orders(1, %d)", b.rows),
		"VACUUM (FREEZE, ANALYZE) orders", "CHECKPOINT")
}

// firstCopies copies the table into a new lake, in turn with COPY in the server. The last lake stays.
func (b *bench) firstCopies(ctx context.Context) error {
	for range b.rounds {
		if err := b.copyInServer(ctx); err != nil {
			return err
		}
		if err := b.drop(ctx, orders.slot()); err != nil {
			return err
		}
		if err := b.newLake(orders, "public.orders"); err != nil {
			return err
		}
		if _, err := b.lakefeed(ctx, copyLake, b.rows); err != nil {
			return err
		}
	}
	return nil
}

// backlogs drains a backlog by three programs in turn, from copies of one slot and one lake.
func (b *bench) backlogs(ctx context.Context) error {
	if err := b.copySlot(ctx, orders.slot(), orders.kept()); err != nil {
		return err
	}
	if err := b.keepLake(); err != nil {
		return err
	}
	changes := 2000 * b.steps()
	b.say("making a backlog of %d changes", changes)
	if err := b.exec(ctx, fmt.Sprintf("CALL backlog(%d, %d)", b.rows, b.steps()), "CHECKPOINT"); err != nil {
		return err
	}
	end, err := b.mark(ctx)
	if err != nil {
		return err
	}
	for range b.rounds {
		err := b.recvlogical(ctx, orders, drainRecv, end, changes)
		if err == nil {
			err = b.decode(ctx, orders, drainDecode, end, changes)
		}
		if err == nil {
			err = b.debezium(ctx, orders, drainDebezium, changes)
		}
		if err == nil {
			err = b.drain(ctx, changes)
		}
		if err != nil {
			return err
		}
	}
	return b.drop(ctx, orders.kept())
}

// drain lets Lakefeed write the backlog into a copy of the lake.
func (b *bench) drain(ctx context.Context, changes int64) error {
	if err := b.restoreLake(); err != nil {
		return err
	}
	if err := b.restoreSlot(ctx, orders); err != nil {
		return err
	}
	_, err := b.lakefeed(ctx, drainLake, changes)
	return err
}

// transaction is one that does not fit in memory, into the lake that is there.
func (b *bench) transaction(ctx context.Context) error {
	rows := 2000 * b.steps()
	first := b.rows + 1000*b.steps() + 1
	b.say("making one transaction of %d rows", rows)
	if err := b.exec(ctx, fmt.Sprintf("INSERT INTO orders SELECT * FROM make_orders(%d, %d)", first, first+rows-1)); err != nil {
		return err
	}
	spilled, err := b.lakefeed(ctx, transactionLake, rows)
	b.record.Spilled = spilled
	return err
}
