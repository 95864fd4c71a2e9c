package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Severity says how bad a Problem is.
type Severity int

// The severities.
const (
	Warning Severity = iota // it works, though not as one may think
	Error                   // it does not work
)

// Problem is one thing that Check found.
type Problem struct {
	Severity  Severity
	Table     string // "public.orders", empty where it concerns the server
	What      string
	Statement string // the SQL or setting that mends it, where there is one
}

// oldestVersion is the first version whose publications and slots we know how to make.
const oldestVersion = 15

// checker collects problems over one connection.
type checker struct {
	*Connector
	tx       pgx.Tx
	problems []Problem

	user      string
	superuser bool
	database  string
}

func (k *checker) add(s Severity, table, statement, format string, args ...any) {
	k.problems = append(k.problems, Problem{Severity: s, Table: table, What: fmt.Sprintf(format, args...), Statement: statement})
}

// Check looks for everything that would keep a pipeline from working, or that its
// owner may not expect. It changes nothing. An error means that the looking itself
// failed; that the database cannot be reached is a Problem.
func Check(ctx context.Context, opts Options) ([]Problem, error) {
	return check(ctx, opts, (*checker).server, (*checker).slotState, (*checker).failover, (*checker).snapshotServer, (*checker).waits, (*checker).tables, (*checker).signalsCheck, (*checker).skipped)
}

// CheckSlot is the part of Check that concerns the slot alone.
func CheckSlot(ctx context.Context, opts Options) ([]Problem, error) {
	return check(ctx, opts, (*checker).identifyRole, (*checker).slotState, (*checker).failover, (*checker).waits)
}

func check(ctx context.Context, opts Options, looks ...func(*checker, context.Context) error) ([]Problem, error) {
	c, err := Open(ctx, opts)
	if err != nil {
		if p, ok := explainConnect(err); ok && ctx.Err() == nil {
			return []Problem{p}, nil
		}
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }() // it has only read
	k := &checker{Connector: c}
	if c.version < oldestVersion {
		k.add(Error, "", "", "the server is PostgreSQL %d; %d is the oldest that works", c.version, oldestVersion)
		return k.problems, nil
	}
	if err := c.knowServer(ctx); err != nil {
		return nil, err
	}
	err = c.inCatalog(ctx, func(tx pgx.Tx) error {
		k.tx = tx
		for _, look := range looks {
			if err := look(k, ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check the database: %w", err)
	}
	return k.problems, nil
}

// identifyRole finds out as whom we look, and where.
func (k *checker) identifyRole(ctx context.Context) error {
	return k.tx.QueryRow(ctx, "SELECT current_user, current_database()").Scan(&k.user, &k.database)
}

// server looks at settings and at what the role may do.
func (k *checker) server(ctx context.Context) error {
	var walLevel string
	var standby, mayReplicate, mayCreate, published bool
	var slots, maxSlots, senders, maxSenders int
	err := k.tx.QueryRow(ctx, `
		SELECT current_user, current_database(), rolsuper,
			rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication' AND pg_has_role(m.oid, 'member')),
			has_database_privilege(current_database(), 'CREATE'),
			(SELECT count(*) = 2 FROM pg_publication WHERE pubname = ANY ($1)),
			current_setting('wal_level'), pg_is_in_recovery(),
			(SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
			(SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int
		FROM pg_roles WHERE rolname = current_user`, []string{k.slot, k.slot + appendSuffix}).
		Scan(&k.user, &k.database, &k.superuser, &mayReplicate, &mayCreate, &published,
			&walLevel, &standby, &slots, &maxSlots, &senders, &maxSenders)
	if err != nil {
		return err
	}
	role := "ALTER ROLE " + quote(k.user) + " "
	if standby {
		if err := k.standbyServer(ctx); err != nil {
			return err
		}
	}
	if walLevel != "logical" {
		k.add(Error, "", mendWALLevel, "wal_level is %s, and changes are read only under logical", walLevel)
	}
	if !mayReplicate {
		k.add(Error, "", role+"REPLICATION", "role %s may not read the log", k.user)
	}
	if !published && !mayCreate && (!standby || k.opts.PrimaryURL != "") {
		k.add(Error, "", "GRANT CREATE ON DATABASE "+quote(k.database)+" TO "+quote(k.user), "role %s may not create publications in database %s", k.user, k.database)
	}
	s, err := lookSlot(ctx, k.tx.Conn(), k.slot)
	if err != nil {
		return err
	}
	if s == nil && slots >= maxSlots {
		k.add(Error, "", setting("max_replication_slots", maxSlots+2), "all %d replication slots are taken", maxSlots)
	}
	if (s == nil || !s.Active) && senders >= maxSenders {
		k.add(Error, "", setting("max_wal_senders", maxSenders+2), "all %d connections for replication are taken", maxSenders)
	}
	return k.replicationConnects(ctx, mayReplicate && senders < maxSenders)
}

// replicationConnects tries what only a try shows: a pooler in between, for one.
func (k *checker) replicationConnects(ctx context.Context, try bool) error {
	if !try {
		return nil
	}
	conn, err := k.replication(ctx)
	if err != nil {
		k.add(Error, "", "", "the server does not accept a connection for replication: %s", err)
		return ctx.Err()
	}
	if name := k.catalog.pooled(); name != "" {
		k.add(Warning, "", "", "%s stands between us and the server: %s", name, poolerWay)
	}
	return conn.Close(ctx)
}

func setting(name string, value int) string {
	return "ALTER SYSTEM SET " + name + " = " + strconv.Itoa(value) + "; -- and restart the server"
}

// slotState looks at the pipeline's slot.
func (k *checker) slotState(ctx context.Context) error {
	s, err := lookSlot(ctx, k.tx.Conn(), k.slot)
	if err != nil || s == nil {
		return err
	}
	drop := "SELECT pg_drop_replication_slot(" + literal(k.slot) + ")"
	switch {
	case s.Plugin != "pgoutput":
		k.add(Error, "", drop, "slot %s is not one of Lakefeed's: its plugin is %q and not pgoutput", k.slot, s.Plugin)
	case s.Database != k.database:
		k.add(Error, "", drop, "slot %s belongs to database %s: another pipeline of this name reads that; rename one of them", k.slot, s.Database)
	case s.Lost:
		k.add(Error, "", drop, "slot %s is lost (%s): the server has removed log that was not read; every table must be copied anew", k.slot, s.Why)
	case s.Ours:
		k.add(Warning, "", "", "slot %s is read by process %d of the database server: the pipeline runs", k.slot, s.PID)
	case s.Active:
		k.add(Error, "", fmt.Sprintf("SELECT pg_terminate_backend(%d)", s.PID), "slot %s is read by process %d of the database server, which is another program (%s)", k.slot, s.PID, s.Reader)
	}
	return nil
}

// waits looks for what the making of a slot would wait for.
func (k *checker) waits(ctx context.Context) error {
	if s, err := lookSlot(ctx, k.tx.Conn(), k.slot); err != nil || s != nil {
		return err
	}
	if k.throughPrimary() { // transactions are there; that it cannot be reached was said
		_ = k.primary.do(ctx, func(db *pgx.Conn) error { return k.waitsFor(ctx, db) })
		return ctx.Err()
	}
	return k.waitsFor(ctx, k.tx)
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// waitsFor looks for transactions that a new slot waits for.
func (k *checker) waitsFor(ctx context.Context, db querier) error {
	rows, err := db.Query(ctx, `
		SELECT format('process %s, role %s, since %s', pid, usename, date_trunc('second', xact_start)), format('SELECT pg_terminate_backend(%s)', pid)
		FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start < now() - interval '1 minute'
		UNION ALL
		SELECT format('prepared transaction %L, since %s', gid, date_trunc('second', prepared)), format('ROLLBACK PREPARED %L; -- or COMMIT', gid)
		FROM pg_prepared_xacts`)
	if err != nil {
		return err
	}
	var who, statement string
	_, err = pgx.ForEachRow(rows, []any{&who, &statement}, func() error {
		k.add(Warning, "", statement, "a transaction is open (%s): the making of a slot waits for its end", who)
		return nil
	})
	return err
}
