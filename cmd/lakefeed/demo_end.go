package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"lakefeed/hudi"
	"lakefeed/pipeline"
)

// samples are what the demo shows of the lake at its end.
var samples = []struct {
	table   string
	columns []string
}{
	{"public/orders", []string{"_change_operation_type", "id", "status", "placed", "total", "details", "priority"}},
	{"public/products", []string{"_change_operation_type", "sku", "price", "size", "labels", "weight"}},
	{"public/clicks", []string{"_lakefeed_key", "at", "page", "took_ms"}},
}

// conclude prints how lake and source compare, some rows, and where to look further.
func (d *demo) conclude(ctx context.Context, r *pipeline.Report) error {
	_, _ = fmt.Fprintf(d.out, "\n%s\n", reportText(r, "lake and source")) // as in say
	for _, s := range samples {
		if err := d.sample(ctx, s.table, s.columns); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(d.out, `The lake is kept in %[1]s. Look at it:

  %[2]s table show %[1]s/public/orders
  %[2]s table read %[1]s/public/orders --limit 3
  %[2]s table read %[1]s/public/orders --format parquet > orders.parquet
  duckdb -c "SELECT status, count(*) FROM 'orders.parquet' GROUP BY 1"

In Spark with Hudi:  spark.read.format("hudi").load("%[1]s/public/orders").show()
In Python, hudi-rs:  HudiTableBuilder.from_base_uri("%[1]s/public/orders").build().read()

`, d.dir, os.Args[0]) // as in say
	if !r.OK() {
		_, _ = fmt.Fprintln(d.out, "The lake differs from its source: this is a defect of Lakefeed.") // as in say
		return errFound
	}
	_, _ = fmt.Fprintln(d.out, "The lake equals its source.") // as in say
	return nil
}

// sample prints two rows of a table.
func (d *demo) sample(ctx context.Context, folder string, columns []string) error {
	t, err := openTable(ctx, filepath.Join(d.dir, folder))
	if err != nil {
		return err
	}
	opts := hudi.ReadOptions{}
	for _, c := range columns { // priority comes late in a short demo
		if len(t.Schema().FieldIndices(c)) > 0 {
			opts.Columns = append(opts.Columns, c)
		}
	}
	_, _ = fmt.Fprintf(d.out, "%s\n", folder) // as in say
	return writeRows(&jsonlWriter{w: d.out}, t.Read(ctx, opts), 2)
}
