package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Failover says whether the pipeline's slot goes over to the standbys of its server, so that it
// is there when one of them is promoted. Servers know that from PostgreSQL 17 on.
type Failover int

// The choices.
const (
	FailoverAsIs Failover = iota // a new slot does not; one that is there stays as it is
	FailoverOff                  // it does not
	FailoverAuto                 // it does where the server can
	FailoverOn                   // it does; a server that cannot is an error
)

// oldestFailover is the first version whose slots go over to standbys.
const oldestFailover = 17

// goesOver reports whether the slot is to go over to standbys. One on a standby cannot.
func (c *Connector) goesOver() (bool, error) {
	if c.opts.Failover == FailoverOn && c.version < oldestFailover {
		return false, &SetupError{fmt.Sprintf("failover: true, and PostgreSQL %d has no slots that go over to a standby (%d does): `failover: auto` takes what there is", c.version, oldestFailover)}
	}
	return c.opts.Failover >= FailoverAuto && c.version >= oldestFailover && !c.standby.Load(), nil
}

// settleFailover makes the slot go over to standbys, or not, as the options say. Nobody may
// read it meanwhile.
func (c *Connector) settleFailover(ctx context.Context) error {
	want, err := c.goesOver()
	if err != nil || c.opts.Failover == FailoverAsIs || c.version < oldestFailover || c.standby.Load() {
		return err
	}
	var have bool
	err = c.catalog.do(ctx, func(db *pgx.Conn) error {
		err := db.QueryRow(ctx, "SELECT failover FROM pg_replication_slots WHERE slot_name = $1", c.slot).Scan(&have)
		if errors.Is(err, pgx.ErrNoRows) {
			have, err = want, nil // what follows says it
		}
		return err
	})
	if err != nil || have == want {
		return err
	}
	conn, err := c.replication(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing depends on it
	return c.alterFailover(ctx, conn, want)
}

func (c *Connector) alterFailover(ctx context.Context, conn *pgconn.PgConn, want bool) error {
	if _, err := conn.Exec(ctx, fmt.Sprintf("ALTER_REPLICATION_SLOT %s (FAILOVER %t)", quote(c.slot), want)).ReadAll(); err != nil {
		return fmt.Errorf("let slot %s go over to standbys (failover: %t): %w", c.slot, want, c.slotError(ctx, err))
	}
	c.log.Info("slot altered", "slot", c.slot, "failover", want)
	return nil
}
