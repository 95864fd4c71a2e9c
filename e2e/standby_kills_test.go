package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestStandbyKillsLong reads a standby under load while lakefeed, the standby and its primary are killed,
// and the log is kept from the standby, as it comes; in the end the standby is promoted.
func TestStandbyKillsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	f := failovers[1]
	f.mishaps = 6
	failOver(t, &f, 16)
}

// mishaps are killed servers and lakefeeds, one after the other, and what was killed.
func (c *couple) mishaps(n int) string {
	c.t.Helper()
	if n == 0 {
		return "nothing else"
	}
	c.primary.Exec(c.t, "checkpoint") // a primary that has made none forgets in a crash what its standby needs
	var story []string
	for range n {
		kind := []string{"lakefeed", "standby", "primary", "receiver"}[c.rng.IntN(4)]
		switch kind {
		case "lakefeed":
			c.run.kill()
			<-c.run.done
			c.run = startRun(c.t, c.lake)
		case "standby":
			c.restart(c.standby)
		case "primary":
			c.restart(c.primary)
		case "receiver":
			if pid := c.pauseReceiver(); pid != 0 {
				rest(time.Duration(c.rng.IntN(1000)) * time.Millisecond)
				_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone
			}
		}
		story = append(story, kind)
		rest(time.Duration(c.rng.IntN(1500)) * time.Millisecond)
		c.run.check()
	}
	awaitInStep(c.t, c.lake, c.run, 2*time.Minute)
	return strings.Join(story, ", ")
}

// restart kills a server, and starts it a moment later.
func (c *couple) restart(s *pgtest.Server) {
	c.t.Helper()
	if err := s.Stop("immediate"); err != nil {
		c.t.Fatal(err)
	}
	rest(time.Duration(c.rng.IntN(700)) * time.Millisecond)
	if err := s.Start(); err != nil {
		c.t.Fatal(err)
	}
}
