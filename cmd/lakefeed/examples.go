package main

import "github.com/spf13/cobra"

// examples are what --help shows of a command, by its path below lakefeed. TestExamples runs
// all of them, each command's from top to bottom in a lake of its own, and holds
// docs/table.md and docs/query.md to them.
var examples = map[string]string{
	"table show": `
  lakefeed table show lake/public/orders
  lakefeed table show lake/public/orders --json`,
	"table timeline": `
  lakefeed table timeline lake/public/orders --limit 10`,
	"table read": `
  lakefeed table read lake/public/orders --limit 10
  lakefeed table read lake/public/orders --as-of 2026-01-31T12:00:00Z --columns id,total --format csv
  lakefeed table read lake/public/orders --format parquet > orders.parquet`,
	"table pin": `
  lakefeed table pin lake/public/orders --at 2026-01-31T12:00:00Z --for 2h
  lakefeed table pin lake/public/orders --list
  lakefeed table pin lake/public/orders --release 1b4e28ba-2fa1-41d2-883f-0016d3cca427`,
	"table changes": `
  lakefeed table changes lake/public/orders --from 2026-01-31T12:00:00Z
  lakefeed table changes lake/public/orders --from 2026-01-31T12:00:00Z --images`,
	"table files": `
  lakefeed table files lake/public/orders
  lakefeed table files lake/public/orders --state orphan,foreign`,
	"table stats": `
  lakefeed table stats lake/public/orders --count`,
	"table check": `
  lakefeed table check lake/public/orders
  lakefeed table check lake/public/orders --quick`,
	"table compact": `
  lakefeed table compact lake/public/orders --max-time 10m
  lakefeed table compact lake/public/orders --min-delta-commits 10 --min-age 1h --either
  lakefeed table compact lake/public/orders --min-log-bytes 10MiB --max-bytes 10GiB`,
	"table cluster": `
  lakefeed table cluster lake/public/orders --sort-by customer,ordered_at`,
	"table convert": `
  lakefeed table convert lake/public/orders --buckets 16
  lakefeed table convert lake/public/orders --type cow`,
	"table clean": `
  lakefeed table clean lake/public/orders --retain-commits 10
  lakefeed table clean lake/public/orders --retain 48h`,
	"table archive": `
  lakefeed table archive lake/public/orders --keep-min 50`,
	"table rollback": `
  lakefeed table rollback lake/public/orders                      # what a crash left
  lakefeed table rollback lake/public/orders 20260131130000000    # the newest commit`,
	"table savepoint": `
  lakefeed table savepoint lake/public/orders --comment 'before the migration'
  lakefeed table savepoint lake/public/orders 20260131120000000 --release`,
	"table restore": `
  lakefeed table restore lake/public/orders 20260131120000000`,
	"table import": `
  lakefeed table import in/*.parquet --to lake/public/old_orders --key id
  lakefeed table import in --to lake/public/by_status --key id --partition-by status --buckets 1`,
	"query": `
  lakefeed query -c shop.yaml 'SELECT status, count(*) AS n, sum(total) AS total FROM public.orders GROUP BY status ORDER BY n DESC'
  lakefeed query --lake lake 'FROM orders LIMIT 10'
  lakefeed query --table o=lake/public/orders 'SELECT max(id) FROM o'
  lakefeed query -c shop.yaml - < report.sql
  lakefeed query -c shop.yaml 'FROM orders' --format parquet -o orders.parquet
  lakefeed query -c shop.yaml --as-of 2026-01-31T12:00:00Z 'SELECT count(*) FROM orders'
  lakefeed query -c shop.yaml --changes-from 2026-01-31T12:00:00Z 'SELECT * FROM orders'
  lakefeed query -c shop.yaml "SELECT id FROM orders ANTI JOIN read_hudi('orders', as_of := '2026-01-31T12:00:00Z') USING (id)"`,
}

// addExamples gives the commands below c their examples.
func addExamples(c *cobra.Command, path string) {
	for _, sub := range c.Commands() {
		at := path + sub.Name()
		if text, ok := examples[at]; ok {
			sub.Example = text[1:]
		}
		addExamples(sub, at+" ")
	}
}
