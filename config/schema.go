package config

import (
	"cmp"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/postgres/rdsiam"
	"lakefeed/storage/all"
)

// The methods below are the schema: one mapping each, its keys in the order of
// docs/configuration.md.

func (d *decoder) config(text []byte) *Config {
	c := new(Config)
	root := d.parse(text)
	if root == nil {
		return c
	}
	d.mapping(root, "", keys{
		"listen":    func(n ast.Node, at string) { c.Listen = d.listen(n, at) },
		"pipelines": func(n ast.Node, at string) { c.Pipelines = d.pipelines(n, at) },
	}, "pipelines")
	return c
}

func (d *decoder) pipelines(n ast.Node, at string) []Pipeline {
	var all []Pipeline
	names := map[string]bool{}
	for i, item := range d.sequence(n, at) {
		p := d.pipeline(item, index(at, i))
		if names[p.Name] && p.Name != "" {
			d.problem(item, index(at, i)+".name", "%q is the name of another pipeline: each needs its own, which names its slot, lock and progress record", p.Name)
		}
		names[p.Name] = true
		all = append(all, d.sharded(item, index(at, i), &p)...)
	}
	return all
}

func (d *decoder) pipeline(n ast.Node, at string) Pipeline {
	p := Pipeline{}
	slots := func() {} // when the pipeline's name is known
	d.mapping(n, at, keys{
		"name":             func(n ast.Node, at string) { p.Name = d.name(n, at) },
		"source":           func(n ast.Node, at string) { d.source(n, at, &p) },
		"tables":           func(n ast.Node, at string) { p.Tables = d.tables(n, at) },
		"messages":         func(n ast.Node, at string) { p.Messages = d.messages(n, at) },
		"slots":            func(n ast.Node, at string) { slots = func() { p.Slots = d.slots(n, at, p.Name) } },
		"lake":             func(n ast.Node, at string) { p.Lake = d.lake(n, at) },
		"types":            func(n ast.Node, at string) { p.Types = d.types(n, at, false) },
		"schema":           func(n ast.Node, at string) { p.Schema = d.schemaPolicy(n, at, false) },
		"commit_interval":  func(n ast.Node, at string) { p.CommitInterval = d.duration(n, at, false) },
		"max_rows":         func(n ast.Node, at string) { p.MaxRows = d.count(n, at, 1<<40) },
		"max_bytes":        func(n ast.Node, at string) { p.MaxBytes = d.size(n, at) },
		"memory_budget":    func(n ast.Node, at string) { p.MemoryBudget = d.size(n, at) },
		"compact_after":    func(n ast.Node, at string) { p.CompactAfter = int(d.count(n, at, 10_000)) },
		"retain_commits":   func(n ast.Node, at string) { p.RetainCommits = int(d.count(n, at, 10_000)) },
		"archive_keep_min": func(n ast.Node, at string) { p.ArchiveKeepMin = int(d.count(n, at, 10_000)) },
		"archive_keep_max": func(n ast.Node, at string) { p.ArchiveKeepMax = int(d.count(n, at, 100_000)) },
		"spool":            func(n ast.Node, at string) { p.Spool = d.spool(n, at) },
		"wal_budget":       func(n ast.Node, at string) { p.WALBudget = d.walBudget(n, at) },
		"on_lost_slot":     func(n ast.Node, at string) { p.RemakeSlot = d.onLostSlot(n, at) },
		"bootstrap":        func(n ast.Node, at string) { p.Bootstrap = d.bootstrap(n, at) },
		"spill_dir":        func(n ast.Node, at string) { p.SpillDir = d.text(n, at) },
		"index_dir":        func(n ast.Node, at string) { p.IndexDir = d.text(n, at) },
	}, "name", "source", "tables", "lake")
	slots()
	if _, _, err := pipeline.TimelineBounds(cmp.Or(p.RetainCommits, 10), p.ArchiveKeepMin, p.ArchiveKeepMax); err != nil {
		d.problem(n, at, "%v", err)
	}
	return p
}

func (d *decoder) spool(n ast.Node, at string) Spool {
	s := Spool{}
	d.mapping(n, at, keys{
		"url":       func(n ast.Node, at string) { s.URL = d.storeURL(n, at) },
		"max_bytes": func(n ast.Node, at string) { s.MaxBytes = d.size(n, at) },
	})
	return s
}

// onLostSlot reports whether a slot that is lost is made anew by itself.
func (d *decoder) onLostSlot(n ast.Node, at string) bool {
	var word string
	choice(d, &word, "stop", "resync")(n, at)
	return word == "resync"
}

// walBudget is steps, each of which begins at a size that is larger than the one before it.
func (d *decoder) walBudget(n ast.Node, at string) pipeline.WALBudget {
	b := pipeline.WALBudget{}
	d.mapping(n, at, keys{
		"warn":      func(n ast.Node, at string) { b.Warn = d.size(n, at) },
		"spool":     func(n ast.Node, at string) { b.Spool = d.size(n, at) },
		"drop_slot": func(n ast.Node, at string) { b.DropSlot = d.size(n, at) },
	})
	if last := max(b.Warn, b.Spool); b.Spool != 0 && b.Spool < b.Warn || b.DropSlot != 0 && b.DropSlot <= last {
		d.problem(n, at, "the steps are taken in turn: want warn below spool below drop_slot")
	}
	return b
}

// storeURL is the URL of a store, with what it needs in its parameters. It never prints
// what it read, as postgresURL does not.
func (d *decoder) storeURL(n ast.Node, at string) string {
	s := d.text(n, at)
	if s == "" {
		return ""
	}
	if err := all.Check(s); err != nil {
		d.problem(n, at, "%s", err)
	}
	return s
}

func (d *decoder) source(n ast.Node, at string, p *Pipeline) {
	d.mapping(n, at, keys{
		"postgres": func(n ast.Node, at string) { p.Postgres = d.postgres(n, at) },
	}, "postgres")
}

func (d *decoder) postgres(n ast.Node, at string) Postgres {
	s := Postgres{}
	required := []string{"url"}
	if d.hasKey(n, "shards") {
		required = []string{"shards"}
	}
	d.mapping(n, at, keys{
		"url":                func(n ast.Node, at string) { s.URL = d.postgresURL(n, at) },
		"primary_url":        func(n ast.Node, at string) { s.PrimaryURL = d.postgresURL(n, at) },
		"shards":             func(n ast.Node, at string) { s.Shards = d.shards(n, at) },
		"snapshot_url":       func(n ast.Node, at string) { s.SnapshotURL = d.postgresURL(n, at) },
		"signal_table":       func(n ast.Node, at string) { s.SignalTable = d.signalTable(n, at) },
		"failover":           func(n ast.Node, at string) { s.Failover = d.failover(n, at) },
		"heartbeat_interval": func(n ast.Node, at string) { s.HeartbeatInterval = d.duration(n, at, true) },
		"copy_connections":   func(n ast.Node, at string) { s.CopyConnections = int(d.count(n, at, 64)) },
		"streaming":          func(n ast.Node, at string) { s.WholeTransactions = !d.boolean(n, at) },
		"receive_timeout":    func(n ast.Node, at string) { s.ReceiveTimeout = d.duration(n, at, false) },
		"rds_iam":            func(n ast.Node, at string) { s.RDSIAM = d.rdsIAM(n, at) },
	}, required...)
	if len(s.Shards) > 0 && (s.URL != "" || s.PrimaryURL != "") {
		d.problem(n, at, "url and primary_url stand with each shard where there are shards")
	}
	if len(s.Shards) > 0 && s.SnapshotURL != "" {
		d.problem(n, at, "snapshot_url does not go with shards: their tables are copied where url leads, in one pass")
	}
	return s
}

// signalTable is one table.
func (d *decoder) signalTable(n ast.Node, at string) [2]string {
	text := d.text(n, at)
	name, err := tableName(text)
	if text != "" && err != nil {
		d.problem(n, at, "%s", err)
	}
	return name
}

// failover is whether the slot goes over to standbys.
func (d *decoder) failover(n ast.Node, at string) postgres.Failover {
	var word string
	choice(d, &word, "auto", "true", "false")(n, at)
	return map[string]postgres.Failover{"auto": postgres.FailoverAuto, "true": postgres.FailoverOn, "false": postgres.FailoverOff}[word]
}

// rdsIAM is whose AWS credentials sign the passwords; `rds_iam: {}` takes those that are there.
func (d *decoder) rdsIAM(n ast.Node, at string) *rdsiam.Options {
	o := new(rdsiam.Options)
	d.mapping(n, at, keys{
		"region":      func(n ast.Node, at string) { o.Region = d.text(n, at) },
		"profile":     func(n ast.Node, at string) { o.Profile = d.text(n, at) },
		"role_arn":    func(n ast.Node, at string) { o.RoleARN = d.text(n, at) },
		"external_id": func(n ast.Node, at string) { o.ExternalID = d.text(n, at) },
	})
	return o
}

func (d *decoder) lake(n ast.Node, at string) Lake {
	l := Lake{TableType: MergeOnRead}
	var bucket url.Values
	where := n // the URL stands
	d.mapping(n, at, keys{
		"url":          func(n ast.Node, at string) { l.URL, where = d.text(n, at), n },
		"s3":           func(n ast.Node, at string) { bucket = d.s3(n, at) },
		"table_type":   func(n ast.Node, at string) { l.TableType = d.tableType(n, at) },
		"lean_columns": func(n ast.Node, at string) { l.LeanColumns = d.boolean(n, at) },
	}, "url")
	l.URL = d.lakeURL(where, at, l.URL, bucket)
	return l
}

// s3 reads how a bucket is reached, as parameters of its URL.
func (d *decoder) s3(n ast.Node, at string) url.Values {
	q := url.Values{}
	takers := keys{"path_style": func(n ast.Node, at string) { q.Set("path_style", strconv.FormatBool(d.boolean(n, at))) }}
	for _, key := range []string{"endpoint", "region", "profile", "role_arn", "external_id", "sse", "kms_key"} {
		takers[key] = func(n ast.Node, at string) {
			if text := d.text(n, at); text != "" {
				q.Set(key, text)
			}
		}
	}
	d.mapping(n, at, takers)
	return q
}

// lakeURL joins the lake's URL and the keys of s3. It never prints what it read, as
// postgresURL does not.
func (d *decoder) lakeURL(n ast.Node, at, lake string, bucket url.Values) string {
	if lake == "" {
		return "" // said before
	}
	if bucket != nil && !strings.HasPrefix(lake, "s3://") && !strings.HasPrefix(lake, "s3a://") {
		d.problem(n, at+".s3", "the lake is no bucket: remove these keys, or write url: s3://bucket/folder")
		return lake
	}
	if len(bucket) > 0 {
		sep := "?"
		if strings.Contains(lake, "?") {
			sep = "&"
		}
		lake += sep + bucket.Encode()
	}
	if err := all.Check(lake); err != nil {
		d.problem(n, at+".url", "%s", err)
	}
	return lake
}

func (d *decoder) tables(n ast.Node, at string) []Table {
	var all []Table
	for i, item := range d.sequence(n, at) {
		all = append(all, d.table(item, index(at, i)))
	}
	return all
}

func (d *decoder) table(n ast.Node, at string) Table {
	t := Table{Line: line(n)}
	d.mapping(n, at, keys{
		"match":      func(n ast.Node, at string) { t.Match = d.pattern(n, at) },
		"exclude":    func(n ast.Node, at string) { t.Exclude = d.boolean(n, at) },
		"table_type": func(n ast.Node, at string) { t.TableType = d.tableType(n, at) },
		"path":       func(n ast.Node, at string) { t.Path = d.folder(n, at) },
		"buckets":    func(n ast.Node, at string) { t.Buckets = int(d.count(n, at, 100_000)) },

		"shard_in_key": func(n ast.Node, at string) { t.SharedKeys = !d.boolean(n, at) },
		"partition_by": func(n ast.Node, at string) { t.PartitionBy = d.partitionBy(n, at) },
		"types":        func(n ast.Node, at string) { t.Types = d.types(n, at, false) },
		"schema":       func(n ast.Node, at string) { t.Schema = d.schemaPolicy(n, at, true) },
	}, "match")
	if t.Exclude && (t.TableType != "" || t.Path != "" || t.Buckets != 0 || t.PartitionBy != nil) {
		d.problem(n, at+".exclude", "tables that are left out land nowhere: remove the entry's other keys")
	}
	if t.Path != "" && !t.Match.literal() && !strings.Contains(t.Path, "{table}") {
		d.problem(n, at+".path", "all tables of %s would land in one folder: put {table} into it", t.Match)
	}
	return t
}

func (d *decoder) messages(n ast.Node, at string) Messages {
	m := Messages{}
	d.mapping(n, at, keys{
		"match": func(n ast.Node, at string) {
			for i, item := range d.sequence(n, at) {
				m.Match = append(m.Match, glob(d.text(item, index(at, i))))
			}
		},
		"path": func(n ast.Node, at string) { m.Path = d.folder(n, at) },
	}, "match")
	return m
}

// partitionBy is one field or a list of them.
func (d *decoder) partitionBy(n ast.Node, at string) []pipeline.PartitionField {
	items := []ast.Node{n}
	if _, list := d.node(n).(*ast.SequenceNode); list {
		items = d.sequence(n, at)
	}
	var fields []pipeline.PartitionField
	for i, item := range items {
		where := at
		if len(items) > 1 {
			where = index(at, i)
		}
		text := d.text(item, where)
		if text == "" {
			continue
		}
		f, err := pipeline.ParsePartitionField(text)
		if err != nil {
			d.problem(item, where, "%q: %s", text, err)
			continue
		}
		if slices.Contains(fields, f) {
			d.problem(item, where, "%s is there twice", f)
		}
		fields = append(fields, f)
	}
	return fields
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

func (d *decoder) name(n ast.Node, at string) string {
	s := d.text(n, at)
	if s != "" && !validName.MatchString(s) {
		d.problem(n, at, "%q cannot name a replication slot: use a small letter, then up to 39 of a-z, 0-9 and _", s)
	}
	return s
}

// postgresURL never prints what it read: a password may be in it.
func (d *decoder) postgresURL(n ast.Node, at string) string {
	s := d.text(n, at)
	if s == "" {
		return ""
	}
	const form = "want postgres://user@host:port/database (the password from PGPASSWORD, ~/.pgpass or ${NAME}; %-escape what is not a letter or digit in it)"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		d.problem(n, at, "is not a URL: %s", form)
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		d.problem(n, at, "is not a PostgreSQL URL: %s", form)
	case strings.Trim(u.Path, "/") == "" && !u.Query().Has("dbname"):
		d.problem(n, at, "names no database: %s", form)
	}
	return s
}

// listen takes loopback addresses only: nothing asks yet who is there.
func (d *decoder) listen(n ast.Node, at string) string {
	s := d.text(n, at)
	if s == "" {
		return ""
	}
	if err := CheckListen(s); err != nil {
		d.problem(n, at, "%s", err)
	}
	return s
}

func (d *decoder) tableType(n ast.Node, at string) TableType {
	s := TableType(strings.ToLower(d.text(n, at)))
	if s != "" && s != MergeOnRead && s != CopyOnWrite {
		d.problem(n, at, "%q is not a table type: merge_on_read or copy_on_write", s)
	}
	return s
}

func (d *decoder) folder(n ast.Node, at string) string {
	s := d.text(n, at)
	clean := path.Clean("/" + s)
	switch {
	case s == "":
	case clean == "/" || strings.HasPrefix(clean, "/_lakefeed") || strings.HasPrefix(clean, "/."):
		d.problem(n, at, "%q is not a folder for a table: name one under the lake, such as raw/{schema}/{table}", s)
	case clean != "/"+strings.Trim(s, "/"):
		d.problem(n, at, "%q: write %s", s, clean[1:])
	}
	return strings.Trim(clean, "/")
}

func (d *decoder) pattern(n ast.Node, at string) Pattern {
	s := d.text(n, at)
	if s == "" {
		return Pattern{}
	}
	p, err := ParsePattern(s)
	if err != nil {
		d.problem(n, at, "%s", err)
	}
	return p
}

// CheckListen reports whether a server may listen at addr: on loopback only,
// since nothing asks yet who is there.
func CheckListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return &listenError{addr, "want host:port, such as " + DefaultListen}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &listenError{addr, "this version listens on loopback only, because its server does not ask who is there: use 127.0.0.1:" + port + " and a tunnel or a proxy that does"}
	}
	return nil
}

type listenError struct{ addr, why string }

func (e *listenError) Error() string { return "cannot listen at " + e.addr + ": " + e.why }
