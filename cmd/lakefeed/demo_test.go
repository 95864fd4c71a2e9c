package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
)

// The demo ends by itself, with the lake equal to its source.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for some seconds")
	}
	if _, err := pgserver.Find(0); err != nil {
		ci.Missing(t, "%v", err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"demo", "--seconds", "8", "--seed", "1", "--dir", t.TempDir()}, nil, &out, &errs)
	t.Log(out.String(), errs.String())
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"equal         public.customers", "equal         public.clicks", "append-only", "TRUNCATE", "The lake equals its source."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %s", want)
		}
	}
}

// Every statement of the demo's workload works, and changes something.
func TestWorkload(t *testing.T) {
	db := pgtest.NewDatabase(t)
	if err := openShop(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	w := &workload{url: db.URL, length: 10 * time.Millisecond, say: t.Logf}
	c := db.Conn(t)
	r := rand.New(rand.NewPCG(1, 2))
	for _, a := range acts {
		before := w.changes.Load()
		for range 20 {
			if err := w.transact(t.Context(), c, a, r); err != nil {
				t.Fatalf("%s: %v", a.sql, err)
			}
		}
		if w.changes.Load() == before {
			t.Errorf("changes nothing: %s", a.sql)
		}
	}
	if err := w.rarely(t.Context(), c); err != nil {
		t.Error(err)
	}
	if got := db.Query(t, `SELECT count(*) FROM orders WHERE priority = 3`)[0][0]; got == "0" {
		t.Error("no column was added")
	}
	if got := db.Query(t, `SELECT count(*) FROM carts`)[0][0]; got != "0" {
		t.Errorf("%s carts are left", got)
	}
	if got := db.Query(t, `SELECT min(pg_column_size(bio)) > 2000 FROM customers`)[0][0]; got != "t" {
		t.Error("bio is too short to be stored aside")
	}
}

// The workload ends with its context, and that is no error.
func TestWorkloadEnds(t *testing.T) {
	db := pgtest.NewDatabase(t)
	if err := openShop(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &workload{url: db.URL, length: time.Hour, say: t.Logf}
	done := make(chan error)
	go func() { done <- w.run(ctx) }()
	c, err := pgx.Connect(ctx, db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for w.changes.Load() < 10 && ctx.Err() == nil {
		if _, err := c.Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLine(t *testing.T) {
	s := pipeline.Status{State: pipeline.Streaming, Rows: 12345, Commits: 7, SlotLag: 3 << 20, Tables: []pipeline.TableStatus{{Freshness: 1.25}}}
	want := "1,000 rows changed in the shop · 12,345 rows written to the lake in 7 commits · 1.2 s behind · log kept for it: 3.0 MiB"
	if got := line(s, 1000); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s = pipeline.Status{State: pipeline.Copying, Tables: []pipeline.TableStatus{{CopyRows: 1234567}}}
	if got := line(s, 0); got != "first copy: 1,234,567 rows so far" {
		t.Errorf("got %s", got)
	}
}
