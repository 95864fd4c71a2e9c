package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A pooler between us and the server gives our statements to sessions of its own: settings,
// and with them the meaning of texts, would be anybody's, and it cannot pass replication on.
// It is known by what it does: it refuses a parameter of ours in its own words, or it hands
// out a process number that is not the session's.

// poolerWay is the way out.
const poolerWay = "connect to the database server itself, without a pooler: replication and the settings of a session do not pass one"

// poolerError is a pooler in the way. No retry helps.
type poolerError struct {
	name, where, why string
	err              error
}

// Error names the pooler and the way out.
func (e *poolerError) Error() string {
	return fmt.Sprintf("%s answers at %s, %s; %s", e.name, e.where, e.why, poolerWay)
}

func (e *poolerError) Unwrap() error { return e.err }

// poolerWords are what poolers say, and no server does, where they refuse to pass a connection on.
var poolerWords = []struct{ text, name string }{
	{"unsupported startup parameter", "PgBouncer"},
	{"RDS Proxy", "RDS Proxy"},
	{"pgcat", "PgCat"},
	{"odyssey", "Odyssey"},
	{"Supavisor", "Supavisor"},
	{"pgpool", "Pgpool-II"},
}

// refusedByPooler recognises a pooler by the words in which it refuses a connection.
func refusedByPooler(pg *pgconn.PgError, where string, err error) *poolerError {
	for _, w := range poolerWords {
		if strings.Contains(strings.ToLower(pg.Message), strings.ToLower(w.text)) {
			return &poolerError{w.name, where, "and refuses us: " + pg.Message, err}
		}
	}
	return nil
}

// pooledBy is the name of the pooler through which a connection goes, empty where it goes
// to the server itself, and whether one of our settings did not arrive.
func pooledBy(ctx context.Context, db *pgx.Conn) (name, lost string, err error) {
	conn := db.PgConn()
	pid, err := oneRow(ctx, conn, "SELECT pg_backend_pid()") // in one message, which keeps its session
	if err != nil || pid[0] == strconv.FormatUint(uint64(conn.PID()), 10) {
		return "", "", err
	}
	for _, setting := range []string{"search_path", "TimeZone", "IntervalStyle", "extra_float_digits", "bytea_output", "row_security", "statement_timeout"} {
		value, err := oneRow(ctx, conn, "SHOW "+setting)
		if err != nil {
			return "", "", err
		}
		if !strings.EqualFold(value[0], settings[setting]) {
			lost = setting
		}
	}
	return poolerName(ctx, db), lost, nil
}

// poolerName is what can be found out of a pooler that lets us in.
func poolerName(ctx context.Context, db *pgx.Conn) string {
	host := db.Config().Host
	switch {
	case strings.Contains(host, ".proxy-") && strings.Contains(host, ".rds.amazonaws.com"):
		return "RDS Proxy"
	case strings.HasSuffix(host, ".pooler.supabase.com"):
		return "Supavisor"
	case strings.Contains(host, "-pooler."):
		return "a pooler (by its host's name)"
	}
	if _, err := db.Exec(ctx, "SHOW pool_version"); err == nil {
		return "Pgpool-II"
	}
	// PgBouncer has a database of that name, and says otherwise than a server that it lets us not in.
	cfg := db.Config()
	cfg.Database, cfg.RuntimeParams = "pgbouncer", nil
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err == nil {
		_ = conn.Close(ctx) // it was only tried
		return "PgBouncer"
	}
	const noDatabase = "3D000"
	var pg *pgconn.PgError
	if errors.As(err, &pg) && !slices.Contains([]string{noDatabase, codePassword, codeNotAllowed}, pg.Code) {
		return "PgBouncer"
	}
	return "a pooler or proxy"
}

// direct refuses a connection whose settings a pooler did not pass on.
func (s *session) direct(ctx context.Context, db *pgx.Conn) error {
	name, lost, err := pooledBy(ctx, db)
	if s.pooler.Store(&name); err != nil || lost == "" {
		return err
	}
	where := fmt.Sprintf("%s:%d", db.Config().Host, db.Config().Port)
	return &poolerError{name: name, where: where, why: "and does not pass our settings on (" + lost + ")"}
}

// throughPooler names the pooler where a connection for replication failed that it cannot pass on.
func (c *Connector) throughPooler(err error) error {
	name := c.catalog.pooled()
	var pg *pgconn.PgError
	if name == "" || !errors.As(err, &pg) || Retryable(err) {
		return err
	}
	if _, known := errors.AsType[*poolerError](err); known {
		return err
	}
	return &poolerError{name, "the configured address", "which makes no connection for replication: " + pg.Message, err}
}

// pooled is the pooler through which the session went when it was made.
func (s *session) pooled() string {
	if name := s.pooler.Load(); name != nil {
		return *name
	}
	return ""
}
