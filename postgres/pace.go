package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// pace keeps copies from being a burden: they read so many bytes a second at most, all of
// them together, and none while a standby lags too far behind.
type pace struct {
	rate *Rate         // nil: no bound
	lag  time.Duration // 0: no bound
	lags session       // of its own: a copy waits for nobody
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	looked time.Time  // when the lag was last looked at
	ends   []logEnd   // that are not replayed, oldest first
}

// lagEvery is how often standbys are looked at.
const lagEvery = time.Second

func (p *pace) begin(c *Connector) {
	if p.rate = c.opts.CopyRate; p.rate != nil && p.rate.bytes <= 0 {
		p.rate = nil
	}
	p.lag, p.log = c.opts.CopyLag, c.log
}

// Rate is how many bytes are read in a second at most, by all together that have it in their Options.
type Rate struct {
	bytes   int64
	readers int

	mu   sync.Mutex
	next time.Time // when the next bytes may come
}

// NewRate is so many bytes a second; 0 or less: no bound. Readers is how many connections share it, where
// that are those of several connectors.
func NewRate(bytes int64, readers int) *Rate { return &Rate{bytes: bytes, readers: readers} }

// longest is for how many seconds so many bytes may take that each of those who share the rate reads.
func (r *Rate) longest(bytes float64, readers int) float64 {
	if r == nil || r.bytes <= 0 {
		return 0
	}
	return float64(max(readers, r.readers)) * bytes / float64(r.bytes)
}

// of is the pace for who reads under a context, nil where there is none to keep.
func (p *pace) of(ctx context.Context) func(int64) error {
	if p.rate == nil && p.lag <= 0 {
		return nil
	}
	return func(bytes int64) error {
		if err := p.awaitStandbys(ctx); err != nil {
			return err
		}
		return pause(ctx, time.Until(p.rate.take(bytes)))
	}
}

// take says when so many bytes may be taken that were read. What was not used before is lost.
func (r *Rate) take(bytes int64) time.Time {
	if r == nil {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.next.Before(now) {
		r.next = now
	}
	r.next = r.next.Add(time.Duration(float64(bytes) / float64(r.bytes) * float64(time.Second)))
	return r.next
}

// awaitStandbys waits until no standby lags too far behind. All readers wait for the one that looks.
func (p *pace) awaitStandbys(ctx context.Context) error {
	if p.lag <= 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) < lagEvery {
		return nil
	}
	for said := false; ; {
		lag, err := p.worstLag(ctx)
		if err != nil {
			return fmt.Errorf("look how far standbys lag behind: %w", err)
		}
		p.looked = time.Now()
		if lag <= p.lag {
			if said {
				p.log.Info("copies go on: the standbys have caught up", "lag", lag)
			}
			return nil
		}
		if !said {
			said = true
			p.log.Warn("copies pause: a standby lags too far behind", "lag", lag, "bound", p.lag)
		}
		if err := pause(ctx, lagEvery); err != nil {
			return err
		}
	}
}

// worstLag is how far the slowest standby of the server is behind, or, on a standby, how far that
// itself is. Readers of logical slots, we among them, do not count.
func (p *pace) worstLag(ctx context.Context) (lag time.Duration, err error) {
	var seconds float64
	var end, replayed int64
	err = p.lags.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, `
			SELECT coalesce(CASE WHEN NOT pg_is_in_recovery() THEN max(extract(epoch FROM r.replay_lag))
				WHEN pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn() THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END, 0)::float8,
				(CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() ELSE '0/0' END - '0/0')::bigint,
				coalesce(min(r.replay_lsn) - '0/0', 9223372036854775807)::bigint
			FROM (SELECT) one LEFT JOIN pg_stat_replication r ON r.state = 'streaming'
				AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`).Scan(&seconds, &end, &replayed)
	})
	if err != nil {
		return 0, err
	}
	return max(time.Duration(seconds*float64(time.Second)), p.since(end, replayed)), nil
}

// since is for how long something has been in the log that is not replayed: of a standby that
// stands still the server knows no lag.
func (p *pace) since(end, replayed int64) time.Duration {
	now := time.Now()
	p.ends = slices.DeleteFunc(p.ends, func(m logEnd) bool { return m.end <= replayed })
	if end > replayed && len(p.ends) < 1000 {
		p.ends = append(p.ends, logEnd{now, end})
	}
	if len(p.ends) == 0 {
		return 0
	}
	return now.Sub(p.ends[0].seen)
}

// logEnd is where the server's log ended at some time.
type logEnd struct {
	seen time.Time
	end  int64
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
