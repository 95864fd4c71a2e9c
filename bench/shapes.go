package main

import (
	"context"
	"fmt"
	"strings"
)

// shape is a table whose rows are narrower or wider than those of orders.
type shape struct {
	name    string
	columns string
	values  string // of row i
	share   int64  // one row for so many of the first copy
}

// shapes are the two ends: what costs by the change, and what costs by the column and byte.
func shapes() []shape {
	var columns, values []string
	for i, kind := range []struct{ sql, value string }{
		{"int", "i::int"}, {"bigint", "i*7919"}, {"text", "md5(i::text)||md5((i*2)::text)"}, {"numeric(18,4)", "i*37/10000.0"}, {"timestamptz", "timestamptz '2025-01-01'+i*interval '1 second'"},
	} {
		for n := range 20 {
			columns = append(columns, fmt.Sprintf("c%d_%d %s", i, n, kind.sql))
			values = append(values, kind.value)
		}
	}
	return []shape{
		{"narrow", "n int", "i::int", 2},
		{"wide", strings.Join(columns, ", "), strings.Join(values, ", "), 25},
	}
}

func (s shape) decoded() string  { return fmt.Sprintf("decoding %s rows to Arrow batches", s.name) }
func (s shape) received() string { return "pg_recvlogical, " + s.name + " rows" }

// shapes decodes backlogs of narrow and of wide rows, in turn with pg_recvlogical.
func (b *bench) shapes(ctx context.Context) error {
	for _, s := range shapes() {
		if err := b.shape(ctx, s); err != nil {
			return fmt.Errorf("%s rows: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) shape(ctx context.Context, s shape) error {
	l, rows := backlog(s.name), b.rows/s.share
	b.say("making a backlog of %d %s rows", rows, s.name)
	err := b.exec(ctx,
		fmt.Sprintf("CREATE TABLE %s (id bigint PRIMARY KEY, %s)", s.name, s.columns),
		fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s", l.slot(), s.name),
		fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", l.kept()),
		fmt.Sprintf("DO $$ BEGIN FOR b IN 0..%d LOOP INSERT INTO %s SELECT i, %s FROM generate_series(b*1000+1, least(b*1000+1000, %d)) i; COMMIT; END LOOP; END $$", (rows-1)/1000, s.name, s.values, rows),
		"CHECKPOINT")
	if err != nil {
		return err
	}
	end, err := b.mark(ctx)
	if err != nil {
		return err
	}
	for range b.rounds {
		if err := b.recvlogical(ctx, l, s.received(), end, rows); err != nil {
			return err
		}
		if err := b.decode(ctx, l, s.decoded(), end, rows); err != nil {
			return err
		}
	}
	for _, name := range []string{l.slot(), l.kept()} {
		if err := b.drop(ctx, name); err != nil {
			return err
		}
	}
	return b.exec(ctx, "DROP PUBLICATION "+l.slot(), "DROP TABLE "+s.name)
}
