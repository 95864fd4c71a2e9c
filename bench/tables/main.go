// Command tables measures what a table of 5 million orders costs to change, in CPU
// seconds of this process, beside what Spark with Hudi took for the same (bounds.go).
//
//   - bulk insert from a Parquet file, both table types;
//   - upserts of 10,000 random keys, a hundredth of them new, copy-on-write and
//     merge-on-read;
//   - the compaction after ten of them;
//   - an upsert that touches few row groups;
//   - filling 10,000 values of 10 KB that an update left out;
//   - reads of all rows, base and logs too, beside hudi-rs where that is installed.
//
// The rows are those of bench/orders.sql, made here. -rows makes it smaller; bounds
// then shrink with it. -big measures a table of 10 GB instead: that its memory is bounded.
// Missing a bound makes the exit code 1.
//
// Files: main.go the order of things, read.go reads, big.go the large table, rows.go the
// rows, measure.go CPU time and memory.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
	"lakefeed/storage/file"
)

func main() {
	b := &bench{}
	flag.Int64Var(&b.rows, "rows", 0, "rows of the table; default 5,000,000, with -big 10,000,000")
	flag.IntVar(&b.buckets, "buckets", 0, "buckets of the table; default 8, with -big 80")
	flag.StringVar(&b.dir, "dir", "", "folder for the tables, 3 GB of it, with -big 20 GB (default: a temporary one)")
	big := flag.Bool("big", false, "measure a table of 10 GB")
	only := flag.String("only", "", "measure COPY_ON_WRITE, MERGE_ON_READ or wide only")
	flag.Parse()
	b.only, b.mib = *only, 512
	if *big {
		b.only, b.mib = "big", bigMiB
		b.rows, b.buckets = cmp.Or(b.rows, bigRows), cmp.Or(b.buckets, bigBuckets)
	}
	b.rows, b.buckets = cmp.Or(b.rows, 5_000_000), cmp.Or(b.buckets, 8)
	debug.SetMemoryLimit(384 << 20) // as lakefeed does
	if err := b.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "tables:", err)
		os.Exit(1)
	}
}

type bench struct {
	rows    int64
	buckets int
	dir     string
	only    string
	mib     int // bound of the memory that is resident
	missed  int
}

// Bounds in CPU seconds for 5 M rows: what Spark 3.5.7 with Hudi 1.2.0 took on two
// cores, over the ratio that is promised.
const (
	boundBulk    = 53 / 1.7
	boundCow     = 107. / 3
	boundMor     = 9. / 15
	boundCompact = 93. / 3
	boundFill    = 3
	boundRead    = 4.8 // what hudi-rs takes, where it is not here
)

const changed = 10_000

func (b *bench) run(ctx context.Context) error {
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "tables")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	var err error
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return err
	}
	fmt.Printf("%-56s %8s %8s %8s %8s\n", "", "CPU s", "wall s", "MiB", "bound")
	err = b.tables(ctx)
	if err == nil && b.missed > 0 {
		err = fmt.Errorf("%d bounds missed", b.missed)
	}
	return err
}

func (b *bench) tables(ctx context.Context) error {
	if b.only == "big" {
		return b.big(ctx)
	}
	source := filepath.Join(b.dir, "orders.parquet")
	if b.only != "wide" {
		if err := writeSource(source, b.rows); err != nil {
			return err
		}
	}
	for _, typ := range []hudi.TableType{hudi.CopyOnWrite, hudi.MergeOnRead} {
		if b.only != "" && b.only != string(typ) {
			continue
		}
		if err := b.table(ctx, source, typ); err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
	}
	if b.only == "" || b.only == "wide" {
		return b.wide(ctx)
	}
	return nil
}

// table measures a table of one type.
func (b *bench) table(ctx context.Context, source string, typ hudi.TableType) error {
	t, err := b.create(ctx, string(typ), typ, orders)
	if err != nil {
		return err
	}
	if err := b.measure(string(typ)+": bulk insert", boundBulk, func() error { return bulkInsert(ctx, t, source) }); err != nil {
		return err
	}
	if typ == hudi.CopyOnWrite {
		err = b.copyOnWrite(ctx, t)
	} else {
		err = b.mergeOnRead(ctx, t)
	}
	if err != nil {
		return err
	}
	return b.read(ctx, string(typ), string(typ)+": read of all rows")
}

func (b *bench) copyOnWrite(ctx context.Context, t *hudi.Table) error {
	for i := range 3 {
		rows := b.changes(uint64(i))
		err := b.measure("copy-on-write: upsert of 10,000 random keys", boundCow, func() error {
			_, err := t.Upsert(ctx, rows)
			return err
		})
		if err != nil {
			return err
		}
	}
	rows := makeRows(b.rows-changed, changed, 9)
	return b.measure("copy-on-write: upsert of the last 10,000 keys", boundCow, func() error {
		_, err := t.Upsert(ctx, rows)
		return err
	})
}

func (b *bench) mergeOnRead(ctx context.Context, t *hudi.Table) error {
	for i := range 10 {
		rows := b.changes(uint64(i))
		err := b.measure("merge-on-read: upsert of 10,000 random keys", boundMor, func() error {
			_, err := t.Upsert(ctx, rows)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := b.read(ctx, string(hudi.MergeOnRead), "MERGE_ON_READ: read of all rows, base and logs"); err != nil {
		return err
	}
	return b.measure("merge-on-read: compaction after ten of them", boundCompact, func() error {
		at, err := t.Compact(ctx, hudi.CompactOptions{})
		if err == nil && at == "" {
			err = errors.New("there was nothing to compact")
		}
		return err
	})
}

// changes are new versions of random rows, a hundredth of them new.
func (b *bench) changes(seed uint64) arrow.RecordBatch {
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same rows in each run
	seen, ids := map[int64]bool{}, []int64{}
	for len(ids) < changed {
		id := 1 + rnd.Int64N(b.rows)
		if len(ids)%100 == 0 {
			id = b.rows + 1 + int64(seed+1)*b.rows + rnd.Int64N(b.rows)
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return rowsOf(ids, int64(seed)+1)
}

// wide measures filling values that an update left out: every 25th row of a table has
// 10 KB of text.
func (b *bench) wide(ctx context.Context) error {
	t, err := b.create(ctx, "wide", hudi.CopyOnWrite, wideOrders)
	if err != nil {
		return err
	}
	if err := insertWide(ctx, t, b.rows); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(7, 1)) //nolint:gosec // the same rows in each run
	keys := make([][]string, b.buckets)
	seen := map[int64]bool{}
	for range min(changed, b.rows/100) {
		id := 25 * (1 + rnd.Int64N(b.rows/25))
		if key := strconv.FormatInt(id, 10); !seen[id] {
			keys[t.Bucket(key)] = append(keys[t.Bucket(key)], key)
			seen[id] = true
		}
	}
	return b.measure("filling 10,000 values of 10 KB", boundFill, func() error {
		for bucket, some := range keys {
			rec, at, err := t.Lookup(ctx, "", bucket, some, []string{"doc"})
			if err != nil {
				return err
			}
			for i, row := range at {
				if row < 0 || rec.Column(0).IsNull(row) {
					return fmt.Errorf("key %s was not found", some[i])
				}
			}
			rec.Release()
		}
		return nil
	})
}

func (b *bench) create(ctx context.Context, name string, typ hudi.TableType, schema *arrow.Schema) (*hudi.Table, error) {
	store, err := file.Open(filepath.Join(b.dir, name))
	if err != nil {
		return nil, err
	}
	return hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "orders", Type: typ, Schema: schema, RecordKey: []string{"id"}, OrderingField: "updated_at",
		Options: hudi.Options{Buckets: b.buckets, Services: &hudi.ServicesOptions{}}, // each is measured apart
	})
}
