package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

// newShards is a lake of a database for each shard.
func newShards(t *testing.T, shards map[string]*pgtest.Database) *laketest.Lake {
	t.Helper()
	l := laketest.New(t, "URL", "      - match: public.*", "    commit_interval: 200ms")
	text, err := os.ReadFile(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"shards:"}
	for name, db := range shards {
		list = append(list, fmt.Sprintf("          - {name: %s, url: %q}", name, db.URL))
	}
	text = []byte(strings.Replace(string(text), `url: "URL"`, strings.Join(list, "\n"), 1))
	if err := os.WriteFile(l.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestShards runs the binary with two databases whose tables land in one, kills it, and looks with each command.
func TestShards(t *testing.T) {
	t.Parallel()
	shards := map[string]*pgtest.Database{"eu": pgtest.NewDatabase(t), "us": pgtest.NewDatabase(t)}
	for name, db := range shards {
		db.Exec(t, "create table orders (id int primary key, note text)", fmt.Sprintf("insert into orders select n, '%s' from generate_series(1, 100) n", name))
	}
	l := newShards(t, shards)
	if out := l.Run(0, "check"); strings.Count(out, "ready to run") != 2 {
		t.Errorf("check: %s", out)
	}
	run := startRun(t, l)
	for _, db := range shards {
		awaitAck(t, db, run)
	}
	for i := range 3 {
		for _, db := range shards {
			db.Exec(t, fmt.Sprintf("update orders set note = 'changed %d' where id %% 3 = %d", i, i), fmt.Sprintf("delete from orders where id = %d", 10+i))
		}
		compared(t, l)
	}
	says(t, l.Run(0, "status"), "pipeline "+l.Name+".eu is run by", "pipeline "+l.Name+".us is run by", "public/orders")
	says(t, l.Run(2, "resync", "public.orders"), "name one by --pipeline")
	shards["eu"].Exec(t, "delete from orders where id > 50")
	says(t, l.Run(0, "resync", "public.orders", "--pipeline", l.Name+".eu"), "copied anew")
	compared(t, l)
	run.kill()
	for _, db := range shards {
		db.Exec(t, "truncate orders", "insert into orders values (1, 'last')")
	}
	l.Run(0, "run", "--once")
	compared(t, l)
	says(t, l.Run(0, "status"), "is not running", "public.orders")
	out := l.Run(0, "query", "SELECT db_shard_source_partition AS shard, id, note FROM public.orders ORDER BY 1")
	says(t, out, "eu", "us", "last")
	for verb, want := range map[string]string{"check": "sound", "show": "pipeline", "compact": ""} {
		out, err := laketest.Command(t.Context(), t, "table", verb, l.Dir+"/public/orders").CombinedOutput()
		if err != nil {
			t.Errorf("table %s: %v", verb, err)
		}
		says(t, string(out), want)
	}
	says(t, l.Run(0, "drop", "--yes"), l.Name)
}

func says(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not in:\n%s", w, out)
		}
	}
}
