package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage/s3"

	"lakefeed/postgres/rdsiam"
)

const tenLines = `pipelines:
  - name: shop
    source:
      postgres:
        url: postgres://lakefeed@db:5432/shop
    tables:
      - match: public.*
    lake:
      url: file:///data/lake
    commit_interval: 10s
`

func noEnv(string) (string, bool) { return "", false }

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("f.yaml", []byte(text), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTenLines(t *testing.T) {
	c := parse(t, tenLines)
	p := c.Pipelines[0]
	if p.Name != "shop" || p.Postgres.URL != "postgres://lakefeed@db:5432/shop" || p.Lake.URL != "file:///data/lake" {
		t.Errorf("got %+v", p)
	}
	if p.Postgres.WholeTransactions || p.Lake.TableType != config.MergeOnRead || p.CommitInterval != 10*time.Second {
		t.Errorf("got %+v", p)
	}
	if p.Source(nil).Messages != nil {
		t.Error("messages are kept")
	}
	if !p.Match("public", "orders") || p.Match("private", "orders") {
		t.Error("public.* takes the wrong tables")
	}
}

func TestEveryKey(t *testing.T) {
	p := parse(t, `
listen: localhost:9000
pipelines:
  - name: shop
    source:
      postgres: {url: "postgres://u@h/db", primary_url: "postgres://u@p/db", snapshot_url: "postgres://u@s/db", failover: true, heartbeat_interval: 5s, copy_connections: 3, streaming: false, receive_timeout: 20s, rds_iam: {region: eu-west-1, role_arn: arn}}
    tables:
      - {match: public.secret, exclude: true}
      - {match: public.events, table_type: copy_on_write, path: raw/events, buckets: 16, partition_by: day(created_at)}
      - {match: public.sales, partition_by: [region, 'month("at")']}
      - {match: "*.*", path: "raw/{schema}/{table}"}
    lake: {url: /data/lake, table_type: MERGE_ON_READ, lean_columns: true}
    messages: {match: ["outbox.*", a?dit], path: raw/messages}
    commit_interval: 500ms
    max_rows: 1_000
    max_bytes: 64MiB
    memory_budget: 1.5GiB
    compact_after: 5
    retain_commits: 7
    archive_keep_min: 20
    archive_keep_max: 30
    spill_dir: /var/tmp
    spool: {url: "file:///var/spool", max_bytes: 10GiB}
    wal_budget: {warn: 1GiB, spool: 2GiB, drop_slot: 9GiB}
    bootstrap: {connections: 8, chunk_bytes: 8MiB, resume_above: 2GiB, max_bytes_per_second: 100MiB, pause_above_replication_lag: 5s}
    on_lost_slot: resync
    index_dir: /var/cache
`).Pipelines[0]
	if p.Postgres.PrimaryURL != "postgres://u@p/db" || p.Postgres.SnapshotURL != "postgres://u@s/db" || p.Postgres.Failover != postgres.FailoverOn || p.Postgres.HeartbeatInterval != 5*time.Second || p.Postgres.CopyConnections != 3 || !p.Postgres.WholeTransactions || p.Postgres.ReceiveTimeout != 20*time.Second ||
		*p.Postgres.RDSIAM != (rdsiam.Options{Region: "eu-west-1", RoleARN: "arn"}) {
		t.Errorf("postgres: %+v", p.Postgres)
	}
	if p.MaxRows != 1000 || p.MaxBytes != 64<<20 || p.MemoryBudget != 3<<29 || p.CompactAfter != 5 || p.RetainCommits != 7 || p.ArchiveKeepMin != 20 || p.ArchiveKeepMax != 30 || p.Spool != (config.Spool{URL: "file:///var/spool", MaxBytes: 10 << 30}) || p.WALBudget != (pipeline.WALBudget{Warn: 1 << 30, Spool: 2 << 30, DropSlot: 9 << 30}) || !p.RemakeSlot ||
		p.Bootstrap != (config.Bootstrap{Connections: 8, ChunkBytes: 8 << 20, ResumeAbove: 2 << 30, MaxBytesPerSecond: 100 << 20, PauseAboveLag: 5 * time.Second}) || p.SpillDir != "/var/tmp" || p.IndexDir != "/var/cache" {
		t.Errorf("bounds: %+v", p)
	}
	if !p.Lake.LeanColumns || p.Lake.TableType != config.MergeOnRead {
		t.Errorf("lake: %+v", p.Lake)
	}
	if e := p.Entry("public", "events"); e.Buckets != 16 || e.Path != "raw/events" || e.TableType != config.CopyOnWrite || len(e.PartitionBy) != 1 || e.PartitionBy[0].String() != "day(created_at)" {
		t.Errorf("entry: %+v", e)
	}
	keeps := p.Source(nil).Messages
	for prefix, want := range map[string]bool{"outbox.order": true, "outbox": false, "audit": true, "audits": false, "": false} {
		if keeps(prefix) != want {
			t.Errorf("messages %q are kept: %t", prefix, !want)
		}
	}
	if got := p.Table(&change.Table{Schema: "_lakefeed", Name: "messages", LogOnly: true}).Path; got != "raw/messages" {
		t.Errorf("messages land in %s", got)
	}
	if o := p.Table(&change.Table{Schema: "public", Name: "sales"}); fmt.Sprint(o.PartitionBy) != "[region month(at)]" {
		t.Errorf("sales lies by %v", o.PartitionBy)
	}
	if p.Match("public", "secret") {
		t.Error("an excluded table is replicated")
	}
}

func TestBucket(t *testing.T) {
	const keys = "s3://bucket/lake\n      s3: {endpoint: \"http://127.0.0.1:9000\", region: eu-west-1, path_style: true, profile: lake,\n" +
		"        role_arn: \"arn:aws:iam::123456789012:role/lake\", external_id: x, sse: \"aws:kms\", kms_key: alias/lake}"
	l := parse(t, strings.Replace(tenLines, "file:///data/lake", keys, 1)).Pipelines[0].Lake
	got, err := s3.ParseURL(l.URL)
	want := s3.Options{
		Bucket: "bucket", Prefix: "lake", Endpoint: "http://127.0.0.1:9000", Region: "eu-west-1", PathStyle: true, Profile: "lake",
		RoleARN: "arn:aws:iam::123456789012:role/lake", ExternalID: "x", SSE: "aws:kms", KMSKey: "alias/lake",
	}
	if err != nil || got != want {
		t.Errorf("%s is %+v, %v", l.URL, got, err)
	}
	l = parse(t, strings.Replace(tenLines, "file:///data/lake", "s3://bucket/lake?region=a\n      s3: {sse: AES256}", 1)).Pipelines[0].Lake
	if l.URL != "s3://bucket/lake?region=a&sse=AES256" {
		t.Errorf("got %s", l.URL)
	}
}

func TestProblems(t *testing.T) {
	replace := func(old, repl string) string { return strings.Replace(tenLines, old, repl, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":        {replace("commit_interval", "comit_interval"), "f.yaml:10:5: pipelines[0].comit_interval: unknown key; did you mean commit_interval?"},
		"far from any":       {replace("commit_interval", "zzzzzzzzzzzzzzzzzzzzzzzz"), "unknown key; there are archive_keep_max, archive_keep_min, bootstrap, commit_interval, compact_after"},
		"listen, no port":    {replace("    commit_interval: 10s", "listen: x"), "f.yaml:10:9: listen: cannot listen at x: want host:port"},
		"misplaced":          {replace("commit_interval: 10s", "heartbeat_interval: 10s"), "f.yaml:10:5: pipelines[0].heartbeat_interval: does not belong here but in pipelines[].source.postgres"},
		"missing":            {replace("    lake:\n      url: file:///data/lake\n", ""), "f.yaml:2:5: pipelines[0].lake: is missing"},
		"empty":              {"", "f.yaml:1:1: the file is empty"},
		"comment only":       {"# nothing\n", "the file is empty"},
		"not yaml":           {"pipelines: [", "f.yaml:1:12: "},
		"list":               {"- a\n", "f.yaml:1:1: here is a list: want keys and values, without a dash in front: pipelines"},
		"no mapping":         {"a\n", "f.yaml:1:1: want keys and values: pipelines"},
		"lost slot":          {replace("commit_interval: 10s", "on_lost_slot: hope"), `pipelines[0].on_lost_slot: "hope" is none of "stop" "resync"`},
		"budget's steps":     {replace("commit_interval: 10s", "wal_budget: {warn: 2GiB, spool: 1GiB}"), "pipelines[0].wal_budget: the steps are taken in turn"},
		"spool's scheme":     {replace("commit_interval: 10s", "spool: {url: \"ftp://u:hunter2@x\"}"), "pipelines[0].spool.url: no store for ftp://"},
		"lake's scheme":      {replace("file:///data", "ftp://u:hunter2@data"), "f.yaml:9:12: pipelines[0].lake.url: no store for ftp://"},
		"lake without path":  {replace("file:///data/lake", "file://data"), "f.yaml:9:12: pipelines[0].lake.url: want file:///path"},
		"twice":              {tenLines + "    commit_interval: 5s\n", "f.yaml:11:5: "},
		"two documents":      {tenLines + "---\na: b\n", "f.yaml:12:1: a second document begins here"},
		"no store":           {replace("file:///", "gs://x/"), "pipelines[0].lake.url: no store for gs://"},
		"bucket":             {replace("file:///data/lake", "s3://u:hunter2@b/lake"), "pipelines[0].lake.url: the URL has credentials in it"},
		"bucket given twice": {replace("file:///data/lake", "s3://bkt?region=a\n      s3: {region: b}"), "given twice"},
		"bucket's key":       {replace("file:///data/lake", "s3://bkt\n      s3: {sse: none}"), "sse is none of"},
		"no bucket":          {replace("file:///data/lake", "/lake\n      s3: {region: b}"), "pipelines[0].lake.s3: the lake is no bucket"},
		"no tables":          {replace("      - match: public.*\n", ""), "pipelines[0].tables: want a list"},
		"no value":           {replace(" shop\n", "\n"), "f.yaml:2:10: pipelines[0].name: has no value"},
		"name":               {replace("name: shop", "name: Shop-1"), `pipelines[0].name: "Shop-1" cannot name a replication slot`},
		"duration":           {replace("10s", "10"), "f.yaml:10:22: pipelines[0].commit_interval: want a time"},
		"size":               {replace("commit_interval: 10s", "max_bytes: 64 potatoes"), "pipelines[0].max_bytes: want a size with its unit"},
		"small size":         {replace("commit_interval: 10s", "memory_budget: 12"), "want a size from 1MiB to 1TiB"},
		"count":              {replace("commit_interval: 10s", "max_rows: -1"), "want a whole number from 1"},
		"archives too much":  {replace("commit_interval: 10s", "archive_keep_min: 10"), "archive_keep_min 10: want more than retain_commits, 10"},
		"archives at once":   {replace("commit_interval: 10s", "archive_keep_max: 50"), "archive_keep_max 50: want more than archive_keep_min, 50"},
		"pattern":            {replace("public.*", "orders"), "f.yaml:7:16: pipelines[0].tables[0].match: want schema.table"},
		"table type":         {replace("match: public.*", "match: public.*\n        table_type: row"), `"row" is not a table type`},
		"partition":          {replace("match: public.*", "match: public.t\n        partition_by: week(at)"), `f.yaml:8:23: pipelines[0].tables[0].partition_by: "week(at)": want a column, or year(column)`},
		"partition twice":    {replace("match: public.*", "match: public.t\n        partition_by: [a, a]"), "partition_by[1]: a is there twice"},
		"partition's place":  {replace("    commit_interval: 10s", "    partition_by: a"), "does not belong here but in an entry of pipelines[].tables"},
		"one folder for all": {replace("match: public.*", "match: public.*\n        path: all"), "put {table} into it"},
		"folder outside":     {replace("match: public.*", "match: public.t\n        path: ../x"), `"../x": write x`},
		"message's key":      {replace("    commit_interval: 10s", "    messages: {prefix: a}"), "pipelines[0].messages.prefix: unknown key"},
		"no message":         {replace("    commit_interval: 10s", "    messages: {path: a}"), "pipelines[0].messages.match: is missing"},
		"types' word":        {replace("match: public.*", "match: public.*\n        types: {arrays: lists}"), `pipelines[0].tables[0].types.arrays: "lists" is none of "json" "list" "text"`},
		"types' key":         {replace("match: public.*", "match: public.*\n        types: {columns: {a: {columns: {}}}}"), "pipelines[0].tables[0].types.columns.a.columns: unknown key"},
		"types of columns":   {replace("match: public.*", "match: public.*\n        types: {columns: [a]}"), "want names of columns"},
		"own folder":         {replace("match: public.*", "match: public.t\n        path: _lakefeed/x"), "is not a folder for a table"},
		"variable":           {replace("lakefeed@", "lakefeed:${NO_SUCH}@"), "f.yaml:5:14: pipelines[0].source.postgres.url: the environment variable NO_SUCH is not set"},
		"half a variable":    {replace("lakefeed@", "lakefeed:${NO@"), "has a ${ without"},
		"listen":             {"listen: 0.0.0.0:80\n" + tenLines, "f.yaml:1:9: listen: cannot listen at 0.0.0.0:80: this version listens on loopback only"},
		"two names":          {tenLines + strings.TrimPrefix(tenLines, "pipelines:\n"), `pipelines[1].name: "shop" is the name of another pipeline`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("f.yaml", []byte(c.text), noEnv)
			if e := new(config.Error); !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	text := strings.NewReplacer("10s", "soon", "file:///data/lake", "", "name:", "nam:").Replace(tenLines)
	_, err := config.Parse("f.yaml", []byte(text), noEnv)
	if e := new(config.Error); !errors.As(err, &e) || len(e.Problems) != 3 { // the name is not missing, it is misspelt
		t.Errorf("want 3 problems, got %v", err)
	}
}

// Wherever a secret stands in the file, no error prints it.
func TestSecretsStayOut(t *testing.T) {
	const secret = "hunter2"
	env := func(name string) (string, bool) { return secret + "\n%zz", name == "PW" }
	for _, url := range []string{
		"mysql://u:" + secret + "@h/db", "postgres://u:" + secret + "@h", "postgres://u:" + secret + "%zz@h/db",
		"postgres://u:" + secret + "@h:port/db", "postgres://u:${PW}@h/db", "host=h password=" + secret, "{a: " + secret + "}", "'" + secret,
	} {
		text := strings.Replace(tenLines, "postgres://lakefeed@db:5432/shop", url, 1)
		_, err := config.Parse("f.yaml", []byte(text), env)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestVariables(t *testing.T) {
	env := func(name string) (string, bool) { return "a: b # c", name == "X" }
	c, err := config.Parse("f", []byte(strings.Replace(tenLines, "file:///data/lake", "/lake/${X}/$${X}/$X", 1)), env)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Pipelines[0].Lake.URL; got != "/lake/a: b # c/${X}/$X" {
		t.Errorf("got %q", got)
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, schema, table string
		want                   bool
	}{
		{"public.orders", "public", "orders", true},
		{"public.orders", "public", "Orders", false},
		{"public.*", "public", "a.b", true},
		{"*.order?", "x", "orders", true},
		{"*.order?", "x", "orderé", true},
		{`public."a.b"`, "public", "a.b", true},
		{`"a*".b`, "a*", "b", true},
		{`"a*".b`, "ab", "b", false},
		{`public."say ""hi"""`, "public", `say "hi"`, true},
		{`public."a."*`, "public", "a.🐘", true},
		{"public.a+", "public", "aa", false},
		{"public.*", "public", "two\nlines", true},
	} {
		p, err := config.ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		} else if got := p.Match(c.schema, c.table); got != c.want {
			t.Errorf("%s takes %s.%s: %v", c.pattern, c.schema, c.table, got)
		}
	}
	for _, bad := range []string{"", "a", "a.", ".b", "a.b.c", `"a.b`, `"".x`} {
		if _, err := config.ParsePattern(bad); err == nil {
			t.Errorf("%q is no pattern", bad)
		}
	}
}

func TestUnreached(t *testing.T) {
	p := parse(t, strings.Replace(tenLines, "      - match: public.*\n",
		"      - match: public.*\n      - match: public.orders\n      - match: sales.*\n", 1)).Pipelines[0]
	got := p.Unreached([][2]string{{"public", "orders"}, {"public", "items"}})
	if len(got) != 2 || got[0].Entry.Match.String() != "public.orders" || !got[0].Shadowed || got[1].Shadowed || got[1].Entry.Line != 9 {
		t.Errorf("got %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(tenLines))
	f.Add([]byte("a: &x [1]\nb: *x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("f", text, noEnv)
		if (c == nil) == (err == nil) {
			t.Errorf("got %v and %v", c, err)
		}
	})
}

const sharded = `pipelines:
  - name: shop
    source:
      postgres:
        shards:
          - {name: eu, url: postgres://eu/shop, primary_url: postgres://eu1/shop}
          - {name: us, url: postgres://us/shop}
    tables:
      - match: public.users
        shard_in_key: false
      - match: public.*
    lake: {url: /lake}
`

// A pipeline of several shards is one for each, of that name.
func TestShards(t *testing.T) {
	c := parse(t, sharded)
	if len(c.Pipelines) != 2 {
		t.Fatalf("%d pipelines", len(c.Pipelines))
	}
	eu, us := c.Pipelines[0], c.Pipelines[1]
	if eu.Name != "shop.eu" || eu.ShardOf != "shop" || eu.Postgres.URL != "postgres://eu/shop" || eu.Postgres.PrimaryURL == "" || us.Name != "shop.us" || us.Postgres.PrimaryURL != "" {
		t.Errorf("got %+v and %+v", eu, us)
	}
	if eu.MemoryBudget != 64<<20 || eu.ShardInKey("public", "users") || !eu.ShardInKey("public", "orders") {
		t.Errorf("memory budget %d", eu.MemoryBudget)
	}
	if o := us.Shards(); o.Name != "shop" || len(o.Names) != 2 {
		t.Errorf("got %+v", o)
	}
	spooled := parse(t, strings.Replace(sharded, "lake: {", "spool: {url: \"file:///spool\", max_bytes: 10GiB}\n    lake: {", 1)).Pipelines
	if s := spooled[1].Spool; s.URL != "file:///spool" || s.MaxBytes != 5<<30 {
		t.Errorf("the spool of a shard is %+v", s)
	}
	for name, want := range map[string]int{"shop": 2, "shop.us": 1, "shops": 0} {
		if found, err := c.Named(name); len(found) != want || (err == nil) != (want > 0) {
			t.Errorf("%d pipelines are named %s, %v", len(found), name, err)
		}
	}
	for change, want := range map[string]string{
		"name: us,=name: eu,":                                       `"eu" is the name of another shard`,
		"name: us,=name: default,":                                  "name this one otherwise",
		"shards:=url: postgres://db/shop\n        shards:":          "url and primary_url stand with each shard",
		"shards:=snapshot_url: postgres://db/shop\n        shards:": "snapshot_url does not go with shards",
		"lake: {=slots: 2\n    lake: {":                             "do not go with shards",
		"lake: {=schema: freeze\n    lake: {":                       "freeze does not go with shards",
		"name: us, url: postgres://us/shop=name: us":                "shards[1].url: is missing",
		"shards:=url: postgres://db/shop\n        unknown:":         "unknown",
	} {
		from, to, _ := strings.Cut(change, "=")
		_, err := config.Parse("f.yaml", []byte(strings.Replace(sharded, from, to, 1)), noEnv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", change, err, want)
		}
	}
	if _, err := config.Parse("f.yaml", []byte(strings.Replace(tenLines, "- match: public.*", "- {match: public.*, shard_in_key: false}", 1)), noEnv); err == nil || !strings.Contains(err.Error(), "the source has no shards") {
		t.Errorf("got %v", err)
	}
}
