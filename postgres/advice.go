package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// connectionError says in one line why a connection could not be made, and the way out.
type connectionError struct {
	text string
	err  error
}

func (e *connectionError) Error() string { return e.text }

func (e *connectionError) Unwrap() error { return e.err }

// connectError explains an error of connecting.
func connectError(err error) error {
	var pg *pgconn.PgError
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok && errors.As(err, &pg) {
		if pooler := refusedByPooler(pg, fmt.Sprintf("%s:%d", connect.Config.Host, connect.Config.Port), err); pooler != nil {
			return pooler
		}
	}
	p, ok := explainConnect(err)
	if !ok {
		return err
	}
	text := p.What
	if p.Statement != "" {
		text += "; " + p.Statement
	}
	return &connectionError{text, err}
}

// explainConnect says why a connection could not be made.
func explainConnect(err error) (Problem, bool) {
	p := Problem{Severity: Error}
	if hosts, ok := errors.AsType[*hostsError](err); ok {
		p.What = hosts.Error()
		return p, true
	}
	if pooler, ok := errors.AsType[*poolerError](err); ok {
		p.What = pooler.Error()
		return p, true
	}
	var connect *pgconn.ConnectError
	var login *LoginError
	if !errors.As(err, &connect) {
		if errors.As(err, &login) { // its password could not be made
			p.What = login.Error()
		}
		return p, p.What != ""
	}
	where := fmt.Sprintf("%s:%d", connect.Config.Host, connect.Config.Port)
	user := connect.Config.User
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		p.What = fmt.Sprintf("no connection to %s as user %s: %s", where, user, tries(connect))
	case errors.As(err, &login):
		p.What = fmt.Sprintf("%s does not accept the password of user %s (%s): %s", where, user, pg.Message, login.way)
		if pg.Code != codePassword {
			p.What = fmt.Sprintf("%s does not let user %s in (%s): %s", where, user, pg.Message, login.way)
		} else if !login.Passes {
			p.Statement = "ALTER ROLE " + quote(user) + " PASSWORD '...'"
		}
	case pg.Code == codeNotAllowed:
		p.What = fmt.Sprintf("%s lets user %s not in: %s", where, user, pg.Message)
		p.Statement = fmt.Sprintf("pg_hba.conf: host %s %s <our address> scram-sha-256", connect.Config.Database, user)
	case pg.Code == codePrivilege && connect.Config.RuntimeParams["replication"] != "":
		p.What = fmt.Sprintf("%s does not let role %s read the log: %s", where, user, pg.Message)
		p.Statement = "ALTER ROLE " + quote(user) + " REPLICATION"
	default:
		p.What = fmt.Sprintf("%s refuses the connection: %s", where, pg.Message)
	}
	return p, true
}

// tries is what each try to connect met, once where several met the same.
func tries(connect *pgconn.ConnectError) string {
	var out []string
	for line := range strings.Lines(errors.Unwrap(connect).Error()) {
		line = strings.TrimSpace(line)
		if _, cause, ok := strings.Cut(line, "dial error: "); ok {
			line = cause
		}
		line = strings.TrimPrefix(line, "hostname resolving error: ")
		if line != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "; ")
}

// slotError recognises what is wrong with our slot: that someone else reads it, or
// that the server is not set up for it.
func (c *Connector) slotError(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch {
	case pg.Code == codeObjectInUse:
		active := &SlotActiveError{Slot: c.slot, Err: err}
		if s, lookErr := c.Slot(ctx); lookErr == nil && s != nil {
			active.PID = s.PID
		}
		return active
	case pg.Code == codeUndefined && strings.Contains(pg.Message, c.slot):
		return &brokenError{err} // it was there a moment ago: a new look says what became of it
	case pg.Code == codeNotReady && strings.Contains(pg.Detail, "being synchronized"):
		return fmt.Errorf("%w (%s): it is the primary's, and can be read here only when this standby has been promoted; connect to the primary, or give the pipeline another name", err, pg.Detail)
	case pg.Code == codeNotReady && strings.Contains(pg.Message, "wal_level"):
		return fmt.Errorf("%w; %s", err, mendWALLevel)
	case pg.Code == codeLimit:
		return fmt.Errorf("%w; raise max_replication_slots (ALTER SYSTEM SET max_replication_slots = ... and restart the server), or drop a slot that nobody needs: SELECT slot_name, active, restart_lsn FROM pg_replication_slots", err)
	}
	return err
}

// streamError recognises what ends the stream and would end it again.
func (c *Connector) streamError(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codeUndefined || !strings.Contains(pg.Message, "publication") {
		return err
	}
	return &SetupError{fmt.Sprintf("%s: somebody dropped it, and until it is there again the log is of no use, which making it anew does not change; drop the slot (SELECT pg_drop_replication_slot('%s')) and give the pipeline an empty lake folder, so that its tables are copied anew", pg.Message, c.slot)}
}

const mendWALLevel = "ALTER SYSTEM SET wal_level = 'logical'; -- and restart the server"

// copyError adds to a refused copy the statement that allows it.
func (c *Connector) copyError(ctx context.Context, t *change.Table, err error) error {
	if isLocked(err) {
		return &change.LockedTableError{Table: t.String(), Err: err}
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codePrivilege {
		return err
	}
	var user string
	var schema, hidden bool
	lookErr := c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, `SELECT current_user, has_schema_privilege(relnamespace, 'USAGE'), row_security_active(oid) FROM pg_class WHERE oid = $1`, t.ID).
			Scan(&user, &schema, &hidden)
	})
	switch {
	case lookErr != nil:
		return err
	case !schema:
		return fmt.Errorf("%w; GRANT USAGE ON SCHEMA %s TO %s", err, quote(t.Schema), quote(user))
	case hidden:
		return fmt.Errorf("%w; ALTER ROLE %s BYPASSRLS", err, quote(user))
	}
	return fmt.Errorf("%w; GRANT SELECT ON %s TO %s", err, quote(t.Schema, t.Name), quote(user))
}

// isServerError reports whether the server refused a statement, and the connection still stands.
func isServerError(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg)
}

// isLocked reports whether a statement ended since somebody else had a lock for too long.
func isLocked(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeLockTimeout
}

// ownerError adds to a refused publication of a table whom to ask.
func ownerError(ctx context.Context, tx pgx.Tx, t *change.Table, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codePrivilege {
		return err
	}
	var user, owner string
	if lookErr := tx.QueryRow(ctx, `SELECT current_user, pg_get_userbyid(relowner) FROM pg_class WHERE oid = $1`, t.ID).Scan(&user, &owner); lookErr != nil {
		return err
	}
	return fmt.Errorf("%w; only its owner may publish it: GRANT %s TO %s", err, quote(owner), quote(user))
}

// createError adds to a refused CREATE PUBLICATION the statement that allows it.
func createError(tx pgx.Tx, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codePrivilege {
		return err
	}
	return fmt.Errorf("%w; GRANT CREATE ON DATABASE %s TO %s", err, quote(tx.Conn().Config().Database), quote(tx.Conn().Config().User))
}
