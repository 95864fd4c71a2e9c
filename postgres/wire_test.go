package postgres

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/internal/pgtest"
)

// slowConn is a connection on which the first writes, those of the login, take so long
// that the answer is there before: pgconn has begun to read in the background by then,
// and goes on with it.
type slowConn struct {
	net.Conn
	slow int
}

func (c *slowConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.slow--; c.slow >= 0 {
		<-time.After(100 * time.Millisecond)
	}
	return n, err
}

func TestDialOnSlowConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDatabase(t).URL
	for _, replication := range []string{"off", "database"} {
		cfg, err := pgconn.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["replication"] = replication
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &slowConn{Conn: c, slow: 3}, err
		}
		conn, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		w, err := takeOver(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.until(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := w.exec("BEGIN"); err != nil {
				t.Errorf("replication %s: %v", replication, err)
			}
		}
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}
}
