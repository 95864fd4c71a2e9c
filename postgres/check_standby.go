package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// knowServer asks a server that is a standby, or has one, who it is, so that its primary, or its
// standby, can be compared with it. Why that fails is found by what follows.
func (c *Connector) knowServer(ctx context.Context) error {
	_, standby, err := c.replayedTo(ctx)
	if err == nil && standby {
		c.standby.Store(true)
	}
	if err == nil && (standby || c.opts.SnapshotURL != "") {
		_, _ = c.Identity(ctx)
	}
	return err
}

// standbyServer looks at what reading a standby takes, there and on its primary.
func (k *checker) standbyServer(ctx context.Context) error {
	if k.version < oldestStandby {
		k.add(Error, "", "", "the server is a standby, and PostgreSQL %d does not decode there (%d does): connect to its primary", k.version, oldestStandby)
		return nil
	}
	var feedback, mayLog bool
	var physical string
	err := k.tx.QueryRow(ctx, `
		SELECT current_setting('hot_standby_feedback')::bool, current_setting('primary_slot_name'),
			has_function_privilege('pg_log_standby_snapshot()', 'execute')`).Scan(&feedback, &physical, &mayLog)
	if err != nil {
		return err
	}
	const reload = reloadConf + " -- on the standby"
	if !feedback {
		k.add(Error, "", "ALTER SYSTEM SET hot_standby_feedback = on"+reload, "hot_standby_feedback is off on the standby: its primary removes rows of catalogs that our slot needs, and the slot is lost")
	}
	if physical == "" {
		k.add(Warning, "", "ALTER SYSTEM SET primary_slot_name = '...'"+reload, "the standby follows its primary without a replication slot: while it is away, the primary removes what our slot needs")
	}
	if k.opts.PrimaryURL == "" {
		return k.withoutPrimary(ctx)
	}
	if !mayLog {
		k.add(Warning, "", "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO "+quote(k.user)+"; -- on the primary", "role %s may not let the primary log its running transactions: the making of a slot takes up to 15 s longer", k.user)
	}
	return k.primaryServer(ctx)
}

// withoutPrimary looks for what somebody has to do by hand.
func (k *checker) withoutPrimary(ctx context.Context) error {
	statements, err := k.missingByHand(ctx, k.tx)
	if err != nil {
		return err
	}
	for _, sql := range statements {
		k.add(Error, "", sql+"; -- on the primary", "the server is a standby, where we cannot publish tables, and primary_url is not set")
	}
	return nil
}

// primaryServer looks at the primary of the standby.
func (k *checker) primaryServer(ctx context.Context) error {
	var walLevel string
	err := k.primary.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT current_setting('wal_level')").Scan(&walLevel)
	})
	role, other := errors.AsType[*roleError](err)
	setup, wrong := errors.AsType[*SetupError](err)
	switch {
	case other:
		k.add(Error, "", "", "%s", role)
	case wrong:
		k.add(Error, "", "", "%s", setup)
	case err != nil && ctx.Err() == nil:
		k.add(Error, "", "", "primary_url: %s", err)
	case err != nil:
		return err
	case walLevel != "logical":
		k.add(Error, "", mendWALLevel+", the primary", "wal_level is %s on the primary, and the standby decodes only what was written under logical", walLevel)
	}
	return nil
}

// snapshotServer looks at the standby on which tables are copied.
func (k *checker) snapshotServer(ctx context.Context) error {
	if k.opts.SnapshotURL == "" {
		return nil
	}
	w, err := k.standbyReader(ctx, new(snapshot))
	if err == nil {
		defer func() { _ = w.close() }() // it has only read
		_, err = k.standbyAt(ctx, w)
	}
	if err == nil {
		err = k.sameLog(ctx, w)
	}
	if err == nil {
		err = k.snapshotSettings(ctx, w)
	}
	if err != nil && ctx.Err() == nil {
		k.add(Error, "", "", "tables cannot be copied on the standby: %s", err)
		return nil
	}
	return err
}

// snapshotSettings looks at what of the standby's configuration is in the way of copies.
func (k *checker) snapshotSettings(ctx context.Context, w *wire) error {
	defer w.watch(ctx)()
	row, err := w.row(`SELECT current_setting('max_standby_streaming_delay'), current_setting('max_standby_streaming_delay')::interval < '30 s',
		current_setting('recovery_min_apply_delay'), current_setting('recovery_min_apply_delay')::interval > '0',
		pg_is_wal_replay_paused()`)
	if err != nil {
		return interrupted(ctx, err)
	}
	if row[1] == "t" && row[0] != "-1" {
		k.add(Warning, "", "ALTER SYSTEM SET max_standby_streaming_delay = '30s'"+reloadConf+" -- on the standby of snapshot_url",
			"the standby of snapshot_url ends statements that are in the way of its replay after %s: chunks of a copy that meet a vacuum or a DDL are read again", row[0])
	}
	if row[3] == "t" {
		k.add(Warning, "", "", "the standby of snapshot_url replays its log %s late: each copy waits for that", row[2])
	}
	if row[4] == "t" {
		k.add(Error, "", "SELECT pg_wal_replay_resume(); -- on the standby of snapshot_url", "the replay of the standby of snapshot_url is paused: copies wait until it goes on")
	}
	return nil
}
