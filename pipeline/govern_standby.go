package pipeline

import (
	"time"

	"lakefeed/change"
	"lakefeed/internal/figure"
)

// replayLags is how much log may have come to a standby that it has not replayed, before we say so.
const replayLags = 64 << 20

// standbyLags is why a standby that is read shows less than its primary has, and will not by itself
// in a moment; "": nothing is known of that.
func standbyLags(s *change.StandbyFigures) string {
	switch {
	case s == nil:
		return ""
	case s.Paused:
		return "has its replay paused (SELECT pg_wal_replay_resume() there)"
	case s.Alone:
		return "gets no log over a connection to its primary"
	case s.Waiting > replayLags:
		return "has " + figure.Bytes(s.Waiting) + " of log that it has not replayed"
	}
	return ""
}

// lastReplayed tells up to when it shows all.
func lastReplayed(s *change.StandbyFigures) string {
	if s.Last.IsZero() {
		return ""
	}
	return " " + s.Last.Format(time.RFC3339)
}

// tellStandby logs when the standby that is read falls behind its primary, and when it no longer is.
func (g *governor) tellStandby(s *change.StandbyFigures) {
	lags := standbyLags(s) != ""
	g.mu.Lock()
	was := g.behind
	g.behind = lags
	g.mu.Unlock()
	switch {
	case lags && !was:
		g.p.log.Warn("the standby that is read does not keep up with its primary, and the lake neither", "because", "it "+standbyLags(s), "last", s.Last)
	case was && !lags:
		g.p.log.Info("the standby that is read keeps up with its primary again")
	}
}
