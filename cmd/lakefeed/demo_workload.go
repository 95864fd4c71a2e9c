package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

//go:embed demo_shop.sql
var shopSQL string

// workload is the customers of the demo's shop.
type workload struct {
	url     string
	seed    uint64
	length  time.Duration // the rare events are spread over this time
	say     func(format string, args ...any)
	changes atomic.Int64 // rows changed so far
}

// act is one kind of transaction.
type act struct {
	weight int // how often it happens, in parts of all weights
	sql    string
	arg    func(r *rand.Rand) any
	also   int64 // rows that it changes beside those that the server counts
}

func upTo(n int64) func(*rand.Rand) any { return func(r *rand.Rand) any { return r.Int64N(n) + 1 } }

func anySKU(r *rand.Rand) any { return fmt.Sprintf("SKU-%05d", r.IntN(1000)+1) }

// someOrder finds an order at random through the primary key's index.
const someOrder = `(SELECT id FROM orders WHERE id >= gen_random_uuid() ORDER BY id LIMIT 1)`

// acts are what customers do all day. No row of clicks is ever updated or deleted:
// it has no key.
var acts = []act{
	{30, `WITH o AS (INSERT INTO orders (customer, total, details)
	        VALUES ($1, round((random() * 500)::numeric, 2), '{"channel": "web", "note": "naïve 🐘 \"quoted\""}') RETURNING id, total)
	      INSERT INTO order_items SELECT id, n, 'SKU-' || lpad((random() * 998 + 1)::int::text, 5, '0'), n, total / 2 FROM o, generate_series(1, 2) n`, upTo(2000), 1},
	{20, `INSERT INTO clicks SELECT clock_timestamp(), '/page/' || $1::int, random() * 900 FROM generate_series(1, 5)`, upTo(100), 0},
	{15, `UPDATE orders SET status = (enum_range(NULL::order_status))[$1] WHERE id = ` + someOrder, upTo(5), 0},
	{10, `UPDATE customers SET email = 'new' || (random() * 1e6)::int || '@example.com' WHERE id = $1`, upTo(2000), 0}, // bio is not sent
	{5, `UPDATE customers SET bio = (SELECT string_agg(md5(random()::text), ' ') FROM generate_series(1, 150)) WHERE id = $1`, upTo(2000), 0},
	{5, `UPDATE products SET price = price + 0.01, labels = array_append(labels[1:3], 'seen') WHERE sku = $1`, anySKU, 0},
	{10, `INSERT INTO carts (lines, expires, keep) SELECT jsonb_build_array($1::int, n), localtimestamp, interval '1 mon 2 days 03:04:05.6' FROM generate_series(1, 2) n`, upTo(1000), 0},
	{5, `WITH o AS (DELETE FROM orders WHERE id = ` + someOrder + ` RETURNING id)
	      DELETE FROM order_items USING o WHERE order_id = o.id AND line < $1`, upTo(100), 1},
	// Changes of a key, one of them of a row whose wide column is not sent.
	{3, `UPDATE customers SET id = CASE WHEN id > 100000 THEN id - 100000 ELSE id + 100000 END WHERE id IN ($1, $1::bigint + 100000)`, upTo(2000), 0},
	{3, `UPDATE order_items SET line = line + 10 WHERE line = 1 AND order_id = ` + someOrder + ` AND $1::int > 0`, upTo(9), 0},
}

// rare is what happens once, each at its part of the time.
var rare = []struct {
	part      float64
	what, sql string
}{
	{.25, "a column is added to orders, with a default", `ALTER TABLE orders ADD COLUMN priority int NOT NULL DEFAULT 3`},
	{.45, "all carts are thrown away (TRUNCATE)", `TRUNCATE carts`},
	{.65, "every price changes in one transaction", `UPDATE products SET price = round(price * 1.02, 2)`},
}

// run changes rows until ctx ends.
func (w *workload) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range uint64(3) {
		g.Go(func() error { return w.session(ctx, func(c *pgx.Conn) error { return w.customer(ctx, c, i) }) })
	}
	g.Go(func() error { return w.session(ctx, func(c *pgx.Conn) error { return w.rarely(ctx, c) }) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("change the shop: %w", err)
	}
	return nil
}

// session runs f with a connection of its own; the end of ctx is no error.
func (w *workload) session(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, w.url)
	if err == nil {
		err = f(c)
		_ = c.Close(context.WithoutCancel(ctx)) // all that counts is committed
	}
	if ctx.Err() != nil {
		err = nil
	}
	return err
}

// customer is one of those who change rows side by side.
func (w *workload) customer(ctx context.Context, c *pgx.Conn, n uint64) error {
	r := rand.New(rand.NewPCG(w.seed, n)) //nolint:gosec // chance, not secrets
	total := 0
	for _, a := range acts {
		total += a.weight
	}
	for {
		pick := r.IntN(total)
		for _, a := range acts {
			if pick -= a.weight; pick < 0 {
				if err := w.transact(ctx, c, a, r); err != nil {
					return err
				}
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(r.IntN(20)) * time.Millisecond):
		}
	}
}

// transact runs an act in a transaction; one of fifty is rolled back.
func (w *workload) transact(ctx context.Context, c *pgx.Conn, a act, r *rand.Rand) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, a.sql, a.arg(r))
	if err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	if r.IntN(50) == 0 {
		return tx.Rollback(ctx)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if n := tag.RowsAffected(); n > 0 {
		w.changes.Add(n + a.also)
	}
	return nil
}

// rarely does what happens once.
func (w *workload) rarely(ctx context.Context, c *pgx.Conn) error {
	began := time.Now()
	for _, e := range rare {
		wait := time.Duration(e.part*float64(w.length)) - time.Since(began)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		tag, err := c.Exec(ctx, e.sql)
		if err != nil {
			return err
		}
		w.changes.Add(tag.RowsAffected())
		w.say("%s", e.what)
	}
	return nil
}
