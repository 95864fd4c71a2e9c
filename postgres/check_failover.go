package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const reloadConf = "; SELECT pg_reload_conf()"

// failover looks at what it takes that the slot is there, and the lake not ahead, when a
// standby is promoted.
func (k *checker) failover(ctx context.Context) error {
	switch {
	case k.standby.Load() || k.opts.Failover == FailoverOff:
		return nil
	case k.version < oldestFailover:
		if _, err := k.goesOver(); err != nil {
			k.add(Error, "", "", "%s", err)
		}
		return nil
	}
	slots, err := k.physicalSlots(ctx)
	if err != nil {
		return err
	}
	if k.opts.Failover == FailoverAsIs {
		s, err := lookSlot(ctx, k.tx.Conn(), k.slot)
		if err == nil && len(slots) > 0 && (s == nil || !s.Failover) {
			k.add(Warning, "", "", "a standby reads through slot %s, and ours does not go over to it: without it all tables are copied anew when that one is promoted; `failover: auto` in the configuration lets it", slots[0].name)
		}
		return err
	}
	if err := k.synchronized(ctx, slots); err != nil {
		return err
	}
	return k.otherHosts(ctx)
}

// physicalSlot is one that a standby reads.
type physicalSlot struct {
	name     string
	feedback bool // the standby says what its readers need
}

// physicalSlots are those that a standby reads now.
func (k *checker) physicalSlots(ctx context.Context) ([]physicalSlot, error) {
	rows, err := k.tx.Query(ctx, `SELECT slot_name, xmin IS NOT NULL OR catalog_xmin IS NOT NULL FROM pg_replication_slots WHERE slot_type = 'physical' AND active ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s physicalSlot, err error) {
		return s, row.Scan(&s.name, &s.feedback)
	})
}

// synchronized looks at which standbys the server awaits before it sends us anything.
func (k *checker) synchronized(ctx context.Context, slots []physicalSlot) error {
	var setting string
	if err := k.tx.QueryRow(ctx, "SELECT current_setting('synchronized_standby_slots')").Scan(&setting); err != nil {
		return err
	}
	var names []string
	for _, s := range slots {
		names = append(names, s.name)
		if !s.feedback {
			k.add(Warning, "", "ALTER SYSTEM SET hot_standby_feedback = on"+reloadConf+" -- on that standby", "the standby that reads through slot %s does not say what its readers need: our slot is not kept in step there", s.name)
		}
	}
	switch {
	case len(slots) == 0:
		k.add(Warning, "", "ALTER SYSTEM SET primary_slot_name = '...'"+reloadConf+" -- on the standby", "no standby reads through a physical slot: ours goes over to none")
	case setting == "":
		k.add(Warning, "", "ALTER SYSTEM SET synchronized_standby_slots = "+literal(strings.Join(names, ","))+reloadConf,
			"synchronized_standby_slots is empty: a standby may be promoted that lacks what the lake has already, and the tables that it concerns then stop")
	}
	for name := range strings.SplitSeq(setting, ",") {
		if name = strings.Trim(strings.TrimSpace(name), `"`); name != "" && !slices.Contains(names, name) {
			k.add(Error, "", "", "synchronized_standby_slots names %s, which no standby reads: the server sends us nothing until one does", name)
		}
	}
	return nil
}

// otherHosts looks at the standbys that the URL names.
func (k *checker) otherHosts(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(k.opts.URL)
	if err != nil {
		return err
	}
	adopt(&cfg.Config)
	hosts := byHost(&cfg.Config)
	for _, one := range hosts {
		if len(hosts) == 1 {
			break // nobody but the server that we are on
		}
		one.ValidateConnect = nil
		if err := k.opts.setPassword(ctx, one, true); err != nil {
			continue // said where it matters
		}
		alone := cfg.Copy()
		alone.Config = *one
		db, err := pgx.ConnectConfig(ctx, alone)
		if err != nil {
			if p, ok := explainConnect(err); ok && ctx.Err() == nil {
				k.add(Warning, "", "", "of the hosts in the URL one cannot be looked at: %s", p.What)
				continue
			}
			return err
		}
		if err := k.standbyHost(ctx, db, one.Host+":"+strconv.Itoa(int(one.Port))); err != nil {
			k.add(Warning, "", "", "of the hosts in the URL one cannot be looked at: %s", err)
		}
		_ = db.Close(ctx) // it was only asked
	}
	return ctx.Err()
}

// standbyHost looks at a standby to which the slot is to go over.
func (k *checker) standbyHost(ctx context.Context, db *pgx.Conn, host string) error {
	var standby, sync, feedback, mayRead, awaits bool
	var physical string
	err := db.QueryRow(ctx, `
		SELECT pg_is_in_recovery(), current_setting('sync_replication_slots')::bool, current_setting('hot_standby_feedback')::bool,
			current_setting('primary_slot_name'), pg_has_role('pg_read_all_settings', 'usage'), current_setting('synchronized_standby_slots') <> ''`).
		Scan(&standby, &sync, &feedback, &physical, &mayRead, &awaits)
	if err != nil || !standby {
		return err
	}
	at := reloadConf + " -- on " + host
	if !sync {
		k.add(Error, "", "ALTER SYSTEM SET sync_replication_slots = on"+at, "standby %s does not take slots over", host)
	}
	if physical == "" {
		k.add(Error, "", "ALTER SYSTEM SET primary_slot_name = '...'"+at, "standby %s reads without a physical slot, and takes no slots over", host)
	}
	if !feedback {
		k.add(Error, "", "ALTER SYSTEM SET hot_standby_feedback = on"+at, "standby %s has hot_standby_feedback off, and takes no slots over", host)
	}
	if awaits {
		k.add(Warning, "", "ALTER SYSTEM RESET synchronized_standby_slots"+at, "standby %s has synchronized_standby_slots set: once it is promoted it sends us nothing until a standby of its own reads through them", host)
	}
	if mayRead {
		var named bool
		if err := db.QueryRow(ctx, `SELECT current_setting('primary_conninfo') ~ '(^|\s|[?&])dbname\s*=' OR current_setting('primary_conninfo') ~ '^postgres(ql)?://[^/]*/[^?]'`).Scan(&named); err != nil {
			return err
		}
		if !named {
			k.add(Error, "", "ALTER SYSTEM SET primary_conninfo = '... dbname=postgres'"+at, "primary_conninfo of standby %s names no database (dbname), and it takes no slots over", host)
		}
	}
	return k.syncedSlot(ctx, db, host)
}

// syncedSlot looks at our slot on a standby, where the primary has it.
func (k *checker) syncedSlot(ctx context.Context, db *pgx.Conn, host string) error {
	here, err := lookSlot(ctx, k.tx.Conn(), k.slot)
	if err != nil || here == nil || !here.Failover {
		return err
	}
	there, err := lookSlot(ctx, db, k.slot)
	switch {
	case err != nil:
		return err
	case there == nil || there.Synced && there.Temporary:
		k.add(Warning, "", "", "slot %s is not ready on standby %s yet: it has to catch up with what that one keeps", k.slot, host)
	case !there.Synced:
		k.add(Error, "", "SELECT pg_drop_replication_slot("+literal(k.slot)+") -- on "+host, "slot %s of standby %s is its own, in the way of the one that is to go over", k.slot, host)
	case there.Lost:
		k.add(Error, "", "", "slot %s is lost on standby %s (%s)", k.slot, host, there.Why)
	}
	return nil
}
