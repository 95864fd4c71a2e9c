package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"lakefeed/change"
)

// DefaultCopyConnections is how many connections copy a table side by side where nobody says.
const DefaultCopyConnections = 4

// Options say which database to read and how. URL and Pipeline are required; the
// zero value of every other field works.
type Options struct {
	// URL is the connection string. A password may come from PGPASSWORD or ~/.pgpass.
	// Several hosts are tried in their order; without target_session_attrs the primary is meant.
	// TLS, certificates and the rest are libpq's parameters.
	URL string
	// PrimaryURL is the primary of a standby that URL names: what has to be written there
	// (publications, logical messages) goes that way. Without it publications are made by
	// hand. It is not used while URL leads to a primary.
	PrimaryURL string
	// SnapshotURL is a physical standby of the server that URL names, on which chunks of tables
	// are read ([Connector.CopyChunk]); "": they are read where URL leads.
	SnapshotURL string
	// Password makes the password of each connection, when it is made; nil: as URL says.
	Password Password
	// Failover says whether the slot goes over to standbys.
	Failover Failover
	// Pipeline is the pipeline's name. It names the slot and the publications: see [SlotName].
	Pipeline string
	// Match says which tables to read; nil takes all.
	Match func(schema, table string) bool
	// Mine says which of these this connector reads, where others read the rest of them
	// through slots of their own; nil: all. It may change its mind while nothing is read.
	Mine func(schema, table string) bool
	// Types say how the values of a table land; nil: by the defaults of [TableTypes].
	Types func(schema, table string) TableTypes
	// Heartbeat is how often a logical message is written, so that the slot moves
	// on where only other databases write. The default is 10 s; a negative value turns it off.
	Heartbeat time.Duration
	// CopyConnections is how many connections copy a table side by side; 0: [DefaultCopyConnections].
	CopyConnections int
	// CopyLock is for how long a copy waits for whoever has locked its table: then it is an error
	// that passes, a *[change.LockedTableError]. The default is 5 minutes.
	CopyLock time.Duration
	// CopyRate is how many bytes of rows the copies read in a second at most, all together, and those of the
	// other connectors that have it; nil: no bound.
	CopyRate *Rate
	// CopyLag is how far a standby of the server may lag behind it, in time: copies pause
	// while one lags more; 0: they do not look.
	CopyLag time.Duration
	// ChunkBytes is about how many bytes of rows a chunk or a copied batch holds. The default is 8 MiB.
	ChunkBytes int64
	// Text asks for text instead of binary values in the stream, even where every
	// column could travel in binary.
	Text bool
	// Messages says by their prefix which logical messages become rows of one more table,
	// _lakefeed.messages; nil takes none, and our own are never among them.
	Messages func(prefix string) bool
	// SignalTable is the schema and the name of a table whose inserts come as signals; empty: there is none.
	SignalTable [2]string
	// WholeTransactions asks the server to send large transactions only when they have
	// committed, as it does small ones. It then keeps them on its own disk until then.
	WholeTransactions bool
	// SpillDir is the folder for transactions in progress. The default is os.TempDir.
	SpillDir string
	// ReceiveTimeout is how long the server may be silent before its connection counts as
	// broken: it is asked for a sign of life three times as often. The default is a minute.
	// A statement may take five times as long.
	ReceiveTimeout time.Duration
	// Logger is silent when nil.
	Logger *slog.Logger

	logins *logins // of the connector that Open makes
}

func (o *Options) setDefaults() {
	if o.Match == nil {
		o.Match = func(string, string) bool { return true }
	}
	o.Heartbeat = cmp.Or(o.Heartbeat, 10*time.Second)
	o.CopyLock = cmp.Or(max(o.CopyLock, 0), 5*time.Minute)
	o.CopyConnections = cmp.Or(max(o.CopyConnections, 0), DefaultCopyConnections)
	o.ReceiveTimeout = cmp.Or(max(o.ReceiveTimeout, 0), time.Minute)
	o.ChunkBytes = cmp.Or(max(o.ChunkBytes, 0), 8<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate names the first field that cannot be used.
func (o *Options) Validate() error {
	if o.Pipeline == "" {
		return errors.New("postgres: Options.Pipeline is empty")
	}
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return fmt.Errorf("postgres: Options.URL: %w", err)
	}
	primary, err := pgx.ParseConfig(cmp.Or(o.PrimaryURL, o.URL))
	if err != nil {
		return fmt.Errorf("postgres: Options.PrimaryURL: %w", err)
	}
	apart, err := pgx.ParseConfig(cmp.Or(o.SnapshotURL, o.URL))
	if err != nil {
		return fmt.Errorf("postgres: Options.SnapshotURL: %w", err)
	}
	if o.Password != nil && (!guarded(&cfg.Config) || !guarded(&primary.Config) || !guarded(&apart.Config)) {
		return errors.New("postgres: Options.URL: a password that is made for each connection must not be sent in clear text: add sslmode=verify-full with sslrootcert=FILE (or sslmode=require) to the URL")
	}
	return nil
}

// takes reports whether the connector reads a table.
func (c *Connector) takes(schema, table string) bool {
	return c.opts.Match(schema, table) && (c.opts.Mine == nil || c.opts.Mine(schema, table))
}

// SlotName is the name of a pipeline's replication slot, and of its publication;
// the one for tables without a key has "_append" behind it. Letters become lower
// case, a dot, which sets apart one of several slots, becomes "__", and everything
// else that a slot's name may not hold "_".
func SlotName(pipeline string) string {
	clean := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}
	s := "lakefeed_" + strings.Map(clean, strings.ReplaceAll(pipeline, ".", "__"))
	return s[:min(len(s), maxName-len(appendSuffix))]
}

const (
	appendSuffix = "_append"
	maxName      = 63 // NAMEDATALEN - 1
)

// patience is how many times Options.ReceiveTimeout a statement may take.
const patience = 5

// Connector reads one PostgreSQL database. [Connector.Next] and the copies are for
// one goroutine; Ack, Emit, Slot and Figures may be called beside them.
type Connector struct {
	opts     Options
	log      *slog.Logger
	slot     string
	version  int    // the server's major version
	encoding string // of the client, where it is not UTF8
	types    *typeCache

	catalog session // catalog queries
	talk    session // logical messages: Emit and the heartbeat
	watch   session // Figures, which waits for nothing else
	sizes   session // sizes of tables: see sizing
	primary session // of a standby: publications and logical messages

	standby atomic.Bool    // the server was one when Identity asked
	probe   *pgconn.PgConn // asks for its timeline

	snap     *snapshot
	pace     pace // of copies
	stream   *stream
	known    atomic.Pointer[change.Identity] // of the log that this session reads, nil: not asked yet
	covered  map[uint32]change.LSN           // by table number: see Cover
	expected change.Mark
	tables   tableCache
	unlogged atomic.Pointer[string] // the tables of which it was said
}

// Open connects to the server. It changes nothing there.
func Open(ctx context.Context, opts Options) (*Connector, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts.setDefaults()
	opts.logins = new(logins)
	c := &Connector{
		opts: opts, log: opts.Logger, slot: SlotName(opts.Pipeline), types: newTypeCache(),
		tables: tableCache{tables: map[uint32]*change.Table{}},
	}
	for _, s := range c.sessions() {
		s.opts, s.patience = &c.opts, patience*opts.ReceiveTimeout
	}
	atPrimary := opts
	atPrimary.URL = opts.PrimaryURL
	c.primary.opts, c.primary.greet = &atPrimary, c.isPrimary
	c.pace.begin(c)
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		v, err := serverVersion(db)
		c.version = v
		if db.PgConn().ParameterStatus("server_encoding") == noEncoding && err == nil {
			c.encoding = noEncoding
			for _, s := range c.sessions() {
				s.encoding = noEncoding
			}
			_, err = db.Exec(ctx, "SET client_encoding TO "+noEncoding)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return c, nil
}

// Close ends every connection. The slot stays.
func (c *Connector) Close(ctx context.Context) error {
	return errors.Join(c.closeStream(), c.CloseSnapshot(ctx), c.closeProbe(ctx), c.closeSessions(ctx))
}

// sessions are those for statements.
func (c *Connector) sessions() []*session {
	return []*session{&c.talk, &c.watch, &c.sizes, &c.pace.lags, &c.primary, &c.catalog}
}

func (c *Connector) closeSessions(ctx context.Context) (err error) {
	for _, s := range c.sessions() {
		err = errors.Join(err, s.close(ctx))
	}
	return err
}

// application is the name of our sessions.
const application = "lakefeed"

// noEncoding is of a database that does not say what its bytes mean. Its server would end
// the stream at the first text that is not UTF-8, at each try; as it is, we look at each value.
const noEncoding = "SQL_ASCII"

// settings are what every session of ours runs under: they make the text of values
// the same everywhere, and keep timeouts from ending a long copy.
var settings = map[string]string{
	"application_name":                    application,
	"client_encoding":                     "UTF8",
	"search_path":                         "pg_catalog",
	"TimeZone":                            "UTC",
	"DateStyle":                           "ISO",
	"IntervalStyle":                       "postgres",
	"extra_float_digits":                  "3",
	"bytea_output":                        "hex",
	"xmloption":                           "content",
	"row_security":                        "off",
	"statement_timeout":                   "0",
	"lock_timeout":                        "0",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "0",
	"synchronous_commit":                  "local",
	"default_transaction_read_only":       "off",
	// A server that has lost us without a word, as when our host is gone, must not keep our
	// slots, temporary ones too, and our snapshots for the two hours that are usual.
	"tcp_keepalives_idle":     "30",
	"tcp_keepalives_interval": "10",
	"tcp_keepalives_count":    "3",
}

// cancelOnServer makes a context that ends cancel the statement on the server too:
// creating a slot, for one, may wait long for other transactions.
func cancelOnServer(conn *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 3 * time.Second}
}

// session is one ordinary connection, made when it is first needed and again after it broke.
type session struct {
	opts     *Options
	pooler   atomic.Pointer[string]                 // through which it went when it was made last, empty: none
	encoding string                                 // of the client, where it is not UTF8
	greet    func(context.Context, *pgx.Conn) error // looks at a new connection; nil: nothing to look at
	patience time.Duration                          // no piece of work takes longer than that on a connection that works
	mu       sync.Mutex
	conn     *pgx.Conn
	raw      atomic.Pointer[pgconn.PgConn] // of conn
}

// sever breaks the connection under whoever waits for an answer of it.
func (s *session) sever() {
	if c := s.raw.Load(); c != nil {
		_ = c.Conn().Close() // fails only on one that is closed
	}
}

// do runs f with the connection. One that had broken since it was last used is
// made again and f run anew.
func (s *session) do(ctx context.Context, f func(*pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && !s.conn.IsClosed() {
		err := s.bounded(f)
		if err == nil || !s.conn.IsClosed() || ctx.Err() != nil {
			return interrupted(ctx, err)
		}
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	err := s.bounded(f)
	if err != nil && s.conn.IsClosed() {
		err = &brokenError{err}
	}
	return interrupted(ctx, err)
}

// bounded runs f until it is done, or until it is certain that no answer will come.
func (s *session) bounded(f func(*pgx.Conn) error) error {
	watch := time.AfterFunc(s.patience, s.sever)
	defer watch.Stop()
	return f(s.conn)
}

func (s *session) connect(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(s.opts.URL)
	if err != nil {
		return err
	}
	adopt(&cfg.Config)
	if s.encoding != "" {
		cfg.RuntimeParams["client_encoding"] = s.encoding
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec // leaves no prepared statements behind
	conn, err := connectSession(ctx, cfg, s.opts)
	if err != nil {
		return err
	}
	err = s.direct(ctx, conn)
	if err == nil && s.greet != nil {
		err = s.greet(ctx, conn)
	}
	if err != nil {
		return errors.Join(err, conn.Close(ctx))
	}
	s.conn = conn
	s.raw.Store(conn.PgConn())
	return nil
}

func (s *session) close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}

// serverVersion is the server's major version, from texts such as "18.6", "19beta1"
// and "17.2 (Debian 17.2-1)".
func serverVersion(db *pgx.Conn) (int, error) {
	text := db.PgConn().ParameterStatus("server_version")
	major := text
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		major = text[:i]
	}
	v, err := strconv.Atoi(major)
	if err != nil {
		return 0, fmt.Errorf("read the server's version %q: %w", text, err)
	}
	return v, nil
}

// Identity names the log that this connector's positions belong to.
func (c *Connector) Identity(ctx context.Context) (change.Identity, error) {
	conn, err := c.replication(ctx)
	if err != nil {
		return change.Identity{}, fmt.Errorf("identify the server: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing depends on it
	if err := c.noteRole(ctx, conn); err != nil {
		return change.Identity{}, err
	}
	id, err := c.identify(ctx, conn)
	if err != nil {
		return id, err
	}
	if known := c.known.Load(); known == nil || *known != id {
		// Statements must not go on at a server of before.
		if err := errors.Join(c.closeProbe(ctx), c.closeSessions(ctx)); err != nil {
			c.log.Debug("close the sessions of before", "error", err)
		}
	}
	c.known.Store(&id)
	return id, nil
}

// replication opens a connection that speaks the replication protocol.
func (c *Connector) replication(ctx context.Context) (*pgconn.PgConn, error) {
	cfg, err := c.config(map[string]string{"replication": "database"})
	if err != nil {
		return nil, err
	}
	conn, err := connectConn(ctx, cfg, &c.opts)
	return conn, c.throughPooler(err)
}

// config is the connection string with our settings.
func (c *Connector) config(extra map[string]string) (*pgconn.Config, error) {
	return c.configOf(c.opts.URL, extra)
}

func (c *Connector) configOf(url string, extra map[string]string) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	adopt(cfg)
	if c.encoding != "" {
		cfg.RuntimeParams["client_encoding"] = c.encoding
	}
	maps.Copy(cfg.RuntimeParams, extra)
	if c.version >= 17 {
		cfg.RuntimeParams["transaction_timeout"] = "0"
	}
	return cfg, nil
}

// oneRow runs a statement of the replication protocol and returns its row.
func oneRow(ctx context.Context, conn *pgconn.PgConn, sql string) ([]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("the server did not answer %q with one row", sql)
	}
	var row []string
	for _, v := range results[0].Rows[0] {
		row = append(row, string(v))
	}
	return row, nil
}
