package pgtest

import (
	"context"
	"regexp"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// sessions are the idle ones of each URL. A backend for each statement of a test, and for each look
// of one that waits, took more processor time than all that is tested.
var sessions = struct {
	sync.Mutex
	idle map[string][]*pgconn.PgConn
}{idle: map[string][]*pgconn.PgConn{}}

// takeSession returns a session that does nothing, or a new one.
func takeSession(ctx context.Context, url string) (*pgconn.PgConn, error) {
	for {
		sessions.Lock()
		idle := sessions.idle[url]
		if len(idle) == 0 {
			sessions.Unlock()
			return pgconn.Connect(ctx, url)
		}
		c := idle[len(idle)-1]
		sessions.idle[url] = idle[:len(idle)-1]
		sessions.Unlock()
		if c.Ping(ctx) == nil { // the server may have been stopped since
			return c, nil
		}
		_ = c.Close(ctx)
	}
}

// lasting is what may leave more behind in its session than in the database, or hold for new sessions only.
var lasting = regexp.MustCompile(`(?i)(^|;)\s*(set|reset|listen|prepare|discard|load)\b|\bcreate\s+temp|\bset_config\b|\badvisory|\balter\s+(database|role|user|system)\b`)

// giveSession gives a session back. One that a statement left other than it was is closed.
func giveSession(ctx context.Context, url, sql string, c *pgconn.PgConn) {
	if c.IsClosed() || c.TxStatus() != 'I' {
		_ = c.Close(ctx)
		return
	}
	if lasting.MatchString(sql) {
		_ = c.Close(ctx)
		closeSessions(ctx, url)
		return
	}
	sessions.Lock()
	defer sessions.Unlock()
	sessions.idle[url] = append(sessions.idle[url], c)
}

// closeSessions closes the idle sessions of a URL.
func closeSessions(ctx context.Context, url string) {
	sessions.Lock()
	idle := sessions.idle[url]
	delete(sessions.idle, url)
	sessions.Unlock()
	for _, c := range idle {
		_ = c.Close(ctx)
	}
}

// query runs statements in a session that is as a new one.
func query(t testing.TB, url, sql string) [][]string {
	t.Helper()
	ctx := context.Background()
	c, err := takeSession(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer giveSession(ctx, url, sql, c)
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			line := make([]string, len(row))
			for i, v := range row {
				line[i] = "NULL"
				if v != nil {
					line[i] = string(v)
				}
			}
			out = append(out, line)
		}
	}
	return out
}
