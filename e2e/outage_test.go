package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestOutage stops PostgreSQL at once three times under load, while one lakefeed process
// runs, and compares lake and source at the end.
func TestOutage(t *testing.T) { outage(t, 3) }

// TestOutageLong stops it 20 times.
func TestOutageLong(t *testing.T) {
	long.Test(t)
	outage(t, 20)
}

// TestOutageSoak stops it 200 times.
func TestOutageSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	outage(t, 200)
}

func outage(t *testing.T, stops int) {
	t.Parallel()
	seed, rng := newSeed(t)
	server := pgtest.Start(t, pgtest.Options{})
	db := server.NewDatabase(t)
	l := newLoadLake(t, db, `    commit_interval: 100ms
    compact_after: 3`)
	run := startRun(t, l)
	load := startLoad(t, db, seed)
	streamed := 0
	for i := range stops {
		if rng.IntN(3) > 0 { // else it has not come to stream, perhaps
			awaitAck(t, db, run)
			streamed++
		}
		pause(rng, 300*time.Millisecond)
		if err := server.Stop("immediate"); err != nil {
			t.Fatal(err)
		}
		pause(rng, 100*time.Millisecond)
		if err := server.Start(); err != nil {
			t.Fatalf("stop %d: %v", i, err)
		}
		load.check()
		run.check()
	}
	awaitAck(t, db, run)
	load.stop()
	t.Logf("seed %d: %d stops, %d while it streamed; the load made %d transactions", seed, stops, streamed, load.transactions)
	run.stop()
	l.Run(0, "run", "--once")
	t.Log(l.Run(0, "validate"))
}

// pause waits for a random time: something is to happen at any moment.
func pause(rng *rand.Rand, most time.Duration) {
	<-time.After(time.Duration(rng.Int64N(int64(most))))
}

// awaitAck waits until the source may forget what is committed now.
func awaitAck(t *testing.T, db *pgtest.Database, run *run) {
	t.Helper()
	now := db.Query(t, "select pg_current_wal_lsn()")[0][0]
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		slots := db.Query(t, "select coalesce(max(confirmed_flush_lsn), '0/0') >= '"+now+"' from pg_replication_slots where database = '"+db.Name+"'")
		if slots[0][0] == "t" {
			return
		}
		run.check()
		select {
		case <-tick.C:
		case <-deadline:
			run.kill()
			<-run.done
			t.Fatalf("%s was not acknowledged\n%s", now, run.out.String())
		}
	}
}

// run is a `lakefeed run` that goes on until it is stopped.
type run struct {
	t    *testing.T
	out  *strings.Builder // to be read after the end
	done chan error
	kill context.CancelFunc
	end  func() error // asks it to end, and waits
	stop func()       // the same, and it must end well
}

func startRun(t *testing.T, l *laketest.Lake) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := l.Command(ctx, "run", "--listen", "127.0.0.1:0")
	r := &run{t: t, out: new(strings.Builder), done: make(chan error, 1), kill: cancel}
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		r.done <- cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	r.end = func() error {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		return <-r.done
	}
	r.stop = func() {
		t.Helper()
		if err := r.end(); err != nil {
			t.Fatalf("lakefeed run: %v\n%s", err, r.out.String())
		}
	}
	return r
}

// check fails the test when lakefeed has ended.
func (r *run) check() {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.t.Fatalf("lakefeed ended by itself: %v\n%s", err, r.out.String())
	default:
	}
}
