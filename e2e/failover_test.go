package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// failover is a way in which a pipeline meets the promotion of a standby.
type failover struct {
	name     string
	versions []int
	keys     string // of source.postgres
	reads    string // "both": the primary of the two hosts, "standby": that one
	awaited  bool   // synchronized_standby_slots: the lake is never ahead
	refused  bool   // the promoted server has no slot of ours
	mishaps  int    // before the promotion
}

var failovers = []failover{
	{name: "no slot", versions: []int{15, 16, 17, 18}, reads: "both", refused: true},
	{name: "reading the standby", versions: []int{16, 17, 18}, reads: "standby"},
	{name: "failover slot", versions: []int{17, 18}, keys: "failover: true", reads: "both"},
	{name: "failover slot, awaited", versions: []int{17, 18}, keys: "failover: auto", reads: "both", awaited: true},
}

// TestFailoverLong promotes a standby under load, with a kill of lakefeed around it by chance: the
// tables go on exactly, or are refused exactly.
func TestFailoverLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	f := failovers[3]
	failOver(t, &f, 17)
}

// TestFailoverSoak does so in each way, for each version, LAKEFEED_ROUNDS times (3).
func TestFailoverSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	rounds, err := strconv.Atoi(os.Getenv("LAKEFEED_ROUNDS"))
	if err != nil {
		rounds = 3
	}
	for round := range rounds {
		for _, f := range failovers {
			for _, v := range f.versions {
				t.Run(fmt.Sprintf("%d %s %d", v, f.name, round), func(t *testing.T) { failOver(t, &f, v) })
			}
		}
	}
}

// couple is a primary, its standby, the load on whichever is the primary, and lakefeed.
type couple struct {
	t                *testing.T
	rng              *rand.Rand
	primary, standby *pgtest.Server
	db               *pgtest.Database // of whichever is the primary
	lake             *laketest.Lake
	run              *run
}

func failOver(t *testing.T, f *failover, version int) {
	seed, rng := newSeed(t)
	c := newCouple(t, f, version)
	c.rng = rng
	load := startLoad(t, c.db, seed)
	c.lake.Run(0, "run", "--once")
	c.run = startRun(t, c.lake)
	awaitInStep(t, c.lake, c.run, time.Minute)
	c.awaitSlot(f)
	killed := c.mishaps(f.mishaps)
	rest(time.Duration(rng.IntN(1500)) * time.Millisecond)
	story := c.promote(f)
	rest(time.Duration(500+rng.IntN(1500)) * time.Millisecond) // the load goes on there
	load.stop()
	outcome := c.outcome(f)
	t.Logf("seed %d, %d transactions; %s; %s: %s", seed, load.transactions, killed, story, outcome)
}

func rest(d time.Duration) { <-time.After(d) }

func newCouple(t *testing.T, f *failover, version int) *couple {
	t.Helper()
	conf := map[string]string{"max_wal_senders": "10"}
	standbyConf := map[string]string{}
	if strings.HasPrefix(f.keys, "failover") {
		standbyConf["sync_replication_slots"] = "on"
	}
	if f.awaited {
		conf["synchronized_standby_slots"], standbyConf["synchronized_standby_slots"] = "standby", ""
	}
	c := &couple{t: t, primary: pgtest.Start(t, pgtest.Options{Version: version, Conf: conf})}
	c.primary.Exec(t, "create database shop")
	c.standby = c.primary.Standby(t, standbyConf)
	u, err := url.Parse(c.primary.URL("shop"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", c.primary.Port(), c.standby.Port())
	c.db = &pgtest.Database{Server: c.primary, Name: "shop", URL: u.String() + "&target_session_attrs=primary"}
	c.lake = newLoadLake(t, c.db, "    commit_interval: 200ms\n    compact_after: 3")
	text, err := os.ReadFile(c.lake.Config)
	if err != nil {
		t.Fatal(err)
	}
	keys, config := f.keys, string(text)
	if f.reads == "standby" {
		config = strings.Replace(config, strconv.Quote(c.db.URL), strconv.Quote(c.standby.URL("shop")), 1)
		keys = "primary_url: " + strconv.Quote(c.db.URL)
	}
	config = strings.Replace(config, "heartbeat_interval: 1s", "heartbeat_interval: 1s\n        "+keys, 1)
	if err := os.WriteFile(c.lake.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitSlot waits until the standby has what the primary's slot needs.
func (c *couple) awaitSlot(f *failover) {
	c.t.Helper()
	if !strings.HasPrefix(f.keys, "failover") {
		return
	}
	for end := time.Now().Add(time.Minute); ; rest(100 * time.Millisecond) {
		c.primary.Exec(c.t, "select pg_log_standby_snapshot()")
		if rows := c.standby.Query(c.t, "select 1 from pg_replication_slots where synced and not temporary"); len(rows) == 1 {
			return
		}
		if time.Now().After(end) {
			c.t.Fatal("the slot did not come to the standby")
		}
	}
}

// promote ends the primary and promotes the standby, which may lack what the primary had sent
// to lakefeed; lakefeed is killed before, in between, behind it or not at all.
func (c *couple) promote(f *failover) (story string) {
	c.t.Helper()
	kill, lags := c.rng.IntN(4), c.rng.IntN(2) == 1
	receiver := 0
	if lags {
		receiver = c.pauseReceiver()
		rest(time.Duration(c.rng.IntN(2000)) * time.Millisecond)
	}
	steps := []func(){
		func() {
			if err := c.primary.Stop("immediate"); err != nil {
				c.t.Fatal(err)
			}
			if receiver != 0 {
				_ = syscall.Kill(receiver, syscall.SIGCONT) // it may be gone
			}
		},
		func() { c.standby.Exec(c.t, "select pg_promote(true, 60)") },
		func() { rest(time.Duration(c.rng.IntN(600)) * time.Millisecond) },
	}
	story = "not killed"
	for i, step := range steps {
		if i == kill {
			c.run.kill()
			<-c.run.done
			story = "killed " + []string{"before the primary died", "before the promotion", "behind the promotion"}[i]
			c.run = nil
		}
		step()
	}
	if c.run == nil && !f.refused {
		c.run = startRun(c.t, c.lake)
	}
	if lags {
		story += ", the standby lagged"
	}
	return story
}

// pauseReceiver stops the process that brings the log to the standby.
func (c *couple) pauseReceiver() int {
	c.t.Helper()
	rows := c.standby.Query(c.t, "select pid from pg_stat_activity where backend_type = 'walreceiver'")
	if len(rows) != 1 {
		return 0
	}
	pid, err := strconv.Atoi(rows[0][0])
	if err != nil {
		c.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	return pid
}

// ended ends lakefeed, which has ended by itself where it is refused.
func (c *couple) ended(f *failover) {
	c.t.Helper()
	var err error
	switch {
	case c.run == nil:
		return
	case !f.refused:
		err = c.run.end()
	default:
		select {
		case err = <-c.run.done:
		case <-time.After(time.Minute):
		}
	}
	if f.refused != (err != nil) {
		c.t.Fatalf("lakefeed run ended with %v\n%s", err, c.run.out.String())
	}
}

var ahead = regexp.MustCompile(`the lake is ahead of the database: (\S+) was written`)

// outcome ends lakefeed, and sees that the lake equals the promoted server, or that exactly what
// cannot is refused, and equals it after a new copy.
func (c *couple) outcome(f *failover) string {
	c.t.Helper()
	c.ended(f)
	code, out := c.lake.Exit("run", "--once")
	switch {
	case f.refused:
		if code != 4 || !strings.Contains(out, "and the slot is gone") {
			c.t.Fatalf("exit code %d\n%s", code, out)
		}
		c.lake.Run(0, "resync", "--all")
		c.lake.Run(0, "run", "--once")
		c.lake.Run(0, "validate")
		return "refused; equal after resync --all"
	case code == 0:
		c.lake.Run(0, "validate")
		return "continued exactly"
	case f.awaited || f.reads == "standby" || code != 4 || !ahead.MatchString(out):
		c.t.Fatalf("exit code %d\n%s", code, out)
	}
	return c.recopied(out)
}

// recopied sees that the tables that are not ahead equal the source, lets the others be copied,
// and compares all.
func (c *couple) recopied(out string) string {
	c.t.Helper()
	stopped := map[string]bool{}
	for _, m := range ahead.FindAllStringSubmatch(out, -1) {
		stopped[m[1]] = true
	}
	var names []string
	for _, table := range []string{"public.wide", "public.pairs", "public.folded", "public.parted", "public.events"} {
		if stopped[table] {
			names = append(names, table)
		} else {
			c.lake.Run(0, "validate", table)
		}
	}
	c.lake.Run(0, append([]string{"resync"}, names...)...)
	c.lake.Run(0, "run", "--once")
	c.lake.Run(0, "validate")
	return strings.Join(names, ", ") + " refused, the others continued exactly; equal after resync"
}
