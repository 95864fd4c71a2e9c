package pipeline_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/storage/file"
)

// TestSoakChunkCopy measures a copy in chunks, one in one pass, and what both read alone: COPY of the
// chunks over as many connections, decoded and thrown away. LAKEFEED_SOAK_ROWS says of how many rows.
func TestSoakChunkCopy(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("LAKEFEED_SOAK is not set")
	}
	rows := 1_000_000
	if text := os.Getenv("LAKEFEED_SOAK_ROWS"); text != "" {
		var err error
		if rows, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for name, key := range map[string]string{
		"even":   "i::text",
		"skewed": "case when i % 10 > 0 then 'tenant-000000000001/' else 't' || i % 1000 || '/' end || i",
	} {
		r := newRig(t, "create table t (id text primary key, n int, at timestamptz, v text)",
			"insert into t select "+key+", i, now(), md5(i::text) || md5((i+1)::text) || md5((i+2)::text) || md5((i+3)::text) from generate_series(1, "+strconv.Itoa(rows)+") i", "vacuum analyze t")
		read := r.readAlone()
		times := map[string]time.Duration{}
		for way, above := range map[string]int64{"in one pass": 1 << 50, "in chunks": 1} {
			lake, err := file.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			r.lake, r.name = lake, r.db.Name+"_"+way[3:6]
			began := time.Now()
			if err := r.once(func(o *options) { o.Bootstrap = pipeline.Bootstrap{ResumeAbove: above} }); err != nil {
				t.Fatal(err)
			}
			times[way] = time.Since(began)
		}
		t.Logf("%s: %d rows: read alone %v; in one pass %v (%.2f); in chunks %v (%.2f)", name, rows, read, times["in one pass"],
			times["in one pass"].Seconds()/read.Seconds(), times["in chunks"], times["in chunks"].Seconds()/read.Seconds())
	}
}

// readAlone is how long COPY of the table's chunks takes.
func (r *rig) readAlone() time.Duration {
	r.t.Helper()
	c := r.quiet()
	ctx := r.t.Context()
	tables, err := c.Tables(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.OpenSnapshot(ctx); err != nil {
		r.t.Fatal(err)
	}
	plan, err := c.PlanCopy(ctx, tables[0], 64<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.CopyConnections())
	for _, chunk := range plan.Chunks {
		g.Go(func() error {
			_, err := c.CopyChunk(ctx, tables[0], chunk, 0, func(*change.Batch) error { return nil })
			return err
		})
	}
	if err := g.Wait(); err != nil {
		r.t.Fatal(err)
	}
	return time.Since(began)
}
