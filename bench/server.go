package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/pgserver"
)

//go:embed orders.sql
var schema string

// pipelineName is the pipeline's, after which Lakefeed names its slot and publication.
const pipelineName = "bench"

// database is a private PostgreSQL.
type database struct {
	server        *pgserver.Server
	url           string
	serverVersion string
}

func newDatabase(ctx context.Context, dir string, version int) (*database, error) {
	s, err := pgserver.New(ctx, dir, pgserver.Options{Version: version, Conf: map[string]string{
		"shared_buffers": "1GB", "max_wal_size": "16GB", "logical_decoding_work_mem": "256MB",
		"synchronous_commit": "off", "checkpoint_timeout": "30min", "autovacuum": "off",
	}})
	if err != nil {
		return nil, err
	}
	d := &database{server: s, url: s.URL("postgres")}
	rows, err := d.query(ctx, "SHOW server_version")
	if err != nil {
		_ = s.Stop("immediate")
		return nil, err
	}
	d.serverVersion = rows
	return d, nil
}

func (d *database) stop() error { return d.server.Stop("immediate") }

// exec runs statements, each in a transaction of its own.
func (d *database) exec(ctx context.Context, sql ...string) error {
	for _, q := range sql {
		if err := d.with(ctx, func(c *pgx.Conn) error {
			_, err := c.PgConn().Exec(ctx, q).ReadAll()
			return err
		}); err != nil {
			line, _, _ := strings.Cut(q, "\n")
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// query returns the only value of a statement as text.
func (d *database) query(ctx context.Context, sql string) (v string, err error) {
	err = d.with(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&v)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	return v, nil
}

func (d *database) with(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }() // nothing depends on it
	return f(c)
}

// mark is a position behind everything that was committed. Its message ends a read of
// the stream at once.
func (d *database) mark(ctx context.Context) (string, error) {
	return d.query(ctx, "SELECT pg_logical_emit_message(true, 'lakefeed', 'end')::text")
}

// backlog is changes that wait for a pipeline, which it is named after.
type backlog string

// orders is the backlog of the table that everything is measured with.
const orders backlog = pipelineName

// slot is the pipeline's, and its publication; kept is the slot that it is copied from.
func (l backlog) slot() string { return "lakefeed_" + string(l) }
func (l backlog) kept() string { return string(l) + "_master" }

// drop removes a slot, where there is one, once the server has noticed that its reader is gone.
func (d *database) drop(ctx context.Context, name string) error {
	free := func() bool {
		n, err := d.query(ctx, "SELECT count(*)::text FROM pg_replication_slots WHERE active AND slot_name = '"+name+"'")
		return err == nil && n == "0"
	}
	if err := await(ctx, "slot "+name+" is free", free); err != nil {
		return err
	}
	return d.exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"+name+"'")
}

func (d *database) copySlot(ctx context.Context, from, to string) error {
	return d.exec(ctx, "SELECT pg_copy_logical_replication_slot('"+from+"', '"+to+"')")
}

// restoreSlot makes a slot what it was before its backlog.
func (d *database) restoreSlot(ctx context.Context, l backlog) error {
	if err := d.drop(ctx, l.slot()); err != nil {
		return err
	}
	return d.copySlot(ctx, l.kept(), l.slot())
}

// copyInServer measures the fastest way there is to read the table.
func (b *bench) copyInServer(ctx context.Context) error {
	return b.with(ctx, func(c *pgx.Conn) error {
		pid := c.PgConn().PID()
		before, began := processCPU(pid), time.Now()
		if _, err := c.Exec(ctx, "COPY orders TO '/dev/null' (FORMAT binary)"); err != nil {
			return err
		}
		b.note(copyServer, b.rows, usage{Wall: time.Since(began).Seconds(), CPU: processCPU(pid) - before})
		return nil
	})
}

// processCPU is the CPU seconds that a process has taken; 0 where the system does not say.
func processCPU(pid uint32) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	const ticks = 100 // USER_HZ
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (user + system) / ticks
}
