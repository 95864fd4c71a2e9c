// Package config reads Lakefeed's configuration file: YAML, one file a deployment.
//
// [Load] reads the file, puts environment variables in the place of ${NAME}, and
// checks every key and value. It does not stop at the first mistake: an [Error]
// has them all, each with file, line, column and the way out, and never a value
// that may be secret. docs/configuration.md lists the keys.
//
// The result is plain: a [Config] holds [Pipeline]s, and a Pipeline becomes the
// Options of the packages that do the work ([Pipeline.Source], [Pipeline.Options]).
package config

import (
	"fmt"
	"os"
	"regexp"
	"time"

	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/postgres/rdsiam"
)

// DefaultListen is where the server of `lakefeed run` listens unless told otherwise.
const DefaultListen = "127.0.0.1:8642"

// Config is one configuration file.
type Config struct {
	Listen    string // host:port of the server, empty: DefaultListen
	Pipelines []Pipeline
}

// Pipeline is one source and the tables that it fills.
type Pipeline struct {
	Name     string
	ShardOf  string // the name in the file, of a pipeline of several shards: this is that of one, whose name is in Name too
	Postgres Postgres
	Tables   []Table
	Messages Messages
	Slots    pipeline.Slots // how tables are divided over slots of the source; none: one has all
	Lake     Lake
	Types    postgres.TableTypes // how values land
	Schema   Schema              // what becomes of changes of schemas

	// Zero takes the default of pipeline.Options.
	CommitInterval time.Duration
	MaxRows        int64
	MaxBytes       int64
	MemoryBudget   int64
	CompactAfter   int
	RetainCommits  int
	ArchiveKeepMin int
	ArchiveKeepMax int
	SpillDir       string
	Spool          Spool
	WALBudget      pipeline.WALBudget
	RemakeSlot     bool // on_lost_slot: resync
	Bootstrap      Bootstrap
	IndexDir       string
}

// Postgres is a PostgreSQL source.
type Postgres struct {
	URL    string
	Shards []Shard // databases whose tables land in the same tables, URL that of one of them; none: URL is the only one
	// PrimaryURL is the primary of a standby that URL names; empty: none is known.
	PrimaryURL string
	// SnapshotURL is a standby on which tables are copied; empty: where URL leads.
	SnapshotURL string
	// SignalTable is the schema and the name of the table whose rows are signals; empty: there is none.
	SignalTable [2]string
	Failover    postgres.Failover
	// HeartbeatInterval and CopyConnections: zero takes the default of postgres.Options.
	HeartbeatInterval time.Duration // negative: off
	CopyConnections   int
	WholeTransactions bool            // large transactions come only when they have committed
	ReceiveTimeout    time.Duration   // zero takes the default of postgres.Options
	RDSIAM            *rdsiam.Options // passwords are tokens of AWS; nil: they are not
}

// Messages says which logical messages are kept, and where: none where Match is empty.
type Messages struct {
	Match []*regexp.Regexp // of their prefixes
	Path  string           // folder under the lake; empty: _lakefeed/messages/NAME
}

// Schema says what becomes of changes of a source table's schema.
type Schema struct {
	Policy  pipeline.SchemaPolicy // empty: evolve
	Columns []string              // with freeze: those that land, beside the key's; none: all
}

// Spool is where changes wait of tables that cannot be written.
type Spool struct {
	URL      string // as storage/all takes it; empty: in the lake
	MaxBytes int64  // 0: no bound
}

// Lake is where the tables land.
type Lake struct {
	URL         string    // as storage/all takes it: the keys of s3 are its parameters
	TableType   TableType // of tables that do not say; default merge_on_read
	LeanColumns bool      // leave out the extra columns but _event_lsn
}

// TableType is a Hudi table type as the file names it.
type TableType string

// The table types.
const (
	MergeOnRead TableType = "merge_on_read"
	CopyOnWrite TableType = "copy_on_write"
)

// Table is one entry of a pipeline's tables: the tables that Match takes, unless
// an entry before it does.
type Table struct {
	Match     Pattern
	Exclude   bool      // leave these tables out
	TableType TableType // empty: the lake's
	Path      string    // folder under the lake; {schema} and {table} stand for the names; empty: {schema}/{table}
	Buckets   int       // of each partition; 0: by the size of the source table
	// PartitionBy lays the rows into folders, one below the other; none: all in one.
	PartitionBy []pipeline.PartitionField
	Types       postgres.TableTypes // how values land; what is empty is the pipeline's
	Schema      Schema              // what becomes of changes of the schema; an empty policy: as the pipeline's
	Line        int                 // of the entry in the file
	SharedKeys  bool                // shard_in_key: false: a key is one row, whichever shard has it
}

// Load reads a configuration file. Mistakes in it are an *[Error].
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(file, b, os.LookupEnv)
}

// Parse reads configuration text; file names it in errors and env looks up a variable.
func Parse(file string, text []byte, env func(string) (string, bool)) (*Config, error) {
	d := &decoder{file: file, env: env}
	c := d.config(text)
	if len(d.problems) > 0 {
		return nil, &Error{Problems: d.problems}
	}
	return c, nil
}

// Named are the pipelines of that name: one, or where it has several shards those of all of them.
func (c *Config) Named(name string) ([]Pipeline, error) {
	var known []string
	var found []Pipeline
	for _, p := range c.Pipelines {
		if p.Name == name || p.ShardOf == name {
			found = append(found, p)
		}
		known = append(known, p.Name)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no pipeline is named %q%s", name, Nearest(name, known))
	}
	return found, nil
}
