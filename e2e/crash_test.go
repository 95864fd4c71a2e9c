package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// phases are what a kill can hit, in the order of a change's path.
var phases = []string{"copy", "capture", "reduce", "marker", "data file", "log append", "publish", "ack", "rollback", "compaction", "clean"}

// TestCrash kills lakefeed three times under load, at random.
func TestCrash(t *testing.T) { crash(t, 3, 0) }

// TestCrashLong kills it 20 times, at least once in each phase.
func TestCrashLong(t *testing.T) {
	long.Test(t)
	crash(t, 20, 1)
}

// TestCrashSoak kills it 200 times, at least five times in each phase.
func TestCrashSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	crash(t, 200, 5)
}

// TestCrashSlotsSoak kills it while its tables come through several slots, other ones each time.
func TestCrashSlotsSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	crashWith(t, 60, 2, func(l *laketest.Lake, rng *rand.Rand) {
		setSlots(t, l, []string{
			"", "slots: [{name: hot, tables: [public.parted]}]", "slots: [{name: hot, tables: [public.folded, public.late_*]}, {name: warm, tables: [public.parted]}]",
			"slots: [{name: hot, tables: [public.*]}]", "slots: 2", "slots: 3",
		}[rng.IntN(6)])
	})
}

// setSlots puts other slots into a lake's configuration.
func setSlots(t *testing.T, l *laketest.Lake, slots string) {
	t.Helper()
	text, err := os.ReadFile(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(strings.TrimRight(string(text), "\n"), "\n"), func(line string) bool { return strings.HasPrefix(line, "    slots:") })
	if slots != "" {
		lines = append(lines, "    "+slots)
	}
	if err := os.WriteFile(l.Config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func crash(t *testing.T, kills, least int) {
	crashWith(t, kills, least, func(*laketest.Lake, *rand.Rand) {})
}

// crashWith calls before each start, but for repeated ones.
func crashWith(t *testing.T, kills, least int, before func(*laketest.Lake, *rand.Rand)) {
	t.Parallel()
	seed, rng := newSeed(t)
	db := pgtest.NewDatabase(t)
	l := newLoadLake(t, db, `    commit_interval: 200ms
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
		before(l, rng)
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
	for left := ""; left != "0"; { // which the server drops as it notices that their sessions are gone
		left = db.Query(t, "select count(*) from pg_replication_slots where temporary and database = current_database()")[0][0]
	}
	for _, p := range phases {
		if hits[p] < least {
			t.Errorf("seed %d: %d kills in phase %s, want %d at least", seed, hits[p], p, least)
		}
	}
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
		hit, err = killWhen(l, want, rng, 30*time.Second)
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
