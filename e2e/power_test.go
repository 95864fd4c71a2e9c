package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// TestPower lets the power fail five times under load: the lake's disk forgets what was
// not synced. What the source was told to forget must be there, and lake and source
// equal whenever they are compared.
func TestPower(t *testing.T) { power(t, 5) }

// TestPowerLong lets it fail 30 times.
func TestPowerLong(t *testing.T) {
	long.Test(t)
	power(t, 30)
}

// TestPowerSoak lets it fail 500 times.
func TestPowerSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	power(t, 500)
}

func power(t *testing.T, failures int) {
	t.Parallel()
	seed, rng := newSeed(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, loadSchema...)
	load := startLoad(t, db, seed)
	m := newMachine(t, db)
	for i := range failures {
		// Many a time it fails early, where it starts and takes back what was half done.
		most := []int{20, 200, 2000}[rng.IntN(3)]
		m.runUntilPowerFails(1 + rng.IntN(most))
		m.fs.Crash(rng)
		m.checkAck(seed, i)
		if i%10 == 9 {
			m.compare(seed, i)
		}
		load.check()
	}
	load.stop()
	m.compare(seed, failures)
	t.Logf("seed %d: %d power failures, %d while it streamed; the load made %d transactions", seed, failures, m.streamed, load.transactions)
}

// machine is a computer whose disk forgets, and the pipeline that runs on it.
type machine struct {
	t        *testing.T
	db       *pgtest.Database
	fs       *storagetest.CrashFS
	power    *supply
	streamed int // failures that came when the first copies were there
}

func newMachine(t *testing.T, db *pgtest.Database) *machine {
	m := &machine{t: t, db: db, fs: storagetest.NewCrashFS(), power: new(supply)}
	m.fs.Fail = m.power.use
	return m
}

// supply is the power: it fails after some calls that change something.
type supply struct {
	mu   sync.Mutex
	left int
	off  chan struct{} // closed when it fails; nil: it will not
}

var changing = []string{"create", "write", "sync", "syncdir", "link", "rename", "remove", "mkdir"}

func (s *supply) use(op, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off == nil {
		return nil
	}
	if s.left > 0 && slices.Contains(changing, op) {
		if s.left--; s.left == 0 {
			close(s.off)
		}
	}
	if s.left == 0 {
		return storagetest.ErrPowerOff
	}
	return nil
}

// failAfter lets the power fail after n calls.
func (s *supply) failAfter(n int) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.off = n, make(chan struct{})
	return s.off
}

// on lets the power stay.
func (s *supply) on() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = nil
}

// lake is the store, as a new process opens it.
func (m *machine) lake() storage.Store {
	m.t.Helper()
	s, err := file.OpenFS("/lake", m.fs)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *machine) source() *postgres.Connector {
	m.t.Helper()
	c, err := postgres.Open(context.Background(), postgres.Options{URL: m.db.URL, Pipeline: m.db.Name, Heartbeat: time.Second})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *machine) pipeline(source *postgres.Connector, mod func(*pipeline.Options)) *pipeline.Pipeline {
	m.t.Helper()
	o := pipeline.Options{
		Name: m.db.Name, Source: source, Lake: m.lake(), Table: tableOptions,
		Interval: 50 * time.Millisecond, CompactAfter: 2, RetainCommits: 1, SpillDir: m.t.TempDir(),
		Retryable: postgres.Retryable,
	}
	mod(&o)
	p, err := pipeline.New(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func tableOptions(t *change.Table) pipeline.TableOptions {
	if t.Name == "folded" {
		return pipeline.TableOptions{Type: hudi.CopyOnWrite}
	}
	return pipeline.TableOptions{}
}

// runUntilPowerFails runs the pipeline until the disk has taken n more calls, and
// what still runs of it then meets a dead disk.
func (m *machine) runUntilPowerFails(n int) {
	m.t.Helper()
	source := m.source()
	defer func() { _ = source.Close(context.Background()) }()
	p := m.pipeline(source, func(*pipeline.Options) {})
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	off := m.power.failAfter(n)
	defer m.power.on()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var err error
	select {
	case <-off:
		streaming := p.Status().Commits > 0
		cancel()
		err = <-done
		if streaming {
			m.streamed++
		}
	case err = <-done:
	case <-time.After(60 * time.Second):
		cancel()
		m.t.Fatalf("the pipeline does nothing: %v, %+v", <-done, p.Status())
	}
	if err == nil || !errors.Is(err, storagetest.ErrPowerOff) && !errors.Is(err, context.Canceled) {
		m.t.Fatalf("the pipeline ended with %v", err)
	}
}

// checkAck compares what the source may forget with what the lake holds.
func (m *machine) checkAck(seed uint64, i int) {
	m.t.Helper()
	slots := m.db.Query(m.t, "select coalesce(confirmed_flush_lsn, '0/0') from pg_replication_slots where slot_name = '"+postgres.SlotName(m.db.Name)+"'")
	if len(slots) == 0 {
		return // it is made only after the lake says that it will be
	}
	var record struct {
		Starting bool       `json:"starting"`
		LSN      change.LSN `json:"lsn"`
	}
	b, _, err := m.lake().Get(m.t.Context(), "_lakefeed/progress/"+m.db.Name)
	if err != nil {
		m.t.Fatalf("seed %d, failure %d: there is a slot and the lake does not know: %v", seed, i, err)
	}
	if err := json.Unmarshal(b, &record); err != nil {
		m.t.Fatalf("seed %d, failure %d: %v in %q", seed, i, err, b)
	}
	confirmed, err := change.ParseLSN(slots[0][0])
	if err != nil {
		m.t.Fatal(err)
	}
	if !record.Starting && confirmed > record.LSN {
		m.t.Fatalf("seed %d, failure %d: the source may forget up to %s, the lake holds up to %s", seed, i, confirmed, record.LSN)
	}
}

// compare brings the lake up to a position and compares it with the source there.
func (m *machine) compare(seed uint64, i int) {
	m.t.Helper()
	source := m.source()
	defer func() { _ = source.Close(context.Background()) }()
	drain := m.source()
	defer func() { _ = drain.Close(context.Background()) }()
	once := func(at change.LSN) *pipeline.Pipeline {
		p := m.pipeline(drain, func(o *pipeline.Options) { o.Once, o.Until = true, at })
		if err := p.Run(m.t.Context()); err != nil {
			m.t.Fatalf("seed %d, failure %d: drain: %v", seed, i, err)
		}
		return p
	}
	once(0) // with the copies that are missing
	report, err := pipeline.Validate(m.t.Context(), pipeline.ValidateOptions{
		Name: m.db.Name, Source: source, Lake: m.lake(), Table: tableOptions, Logger: slog.New(slog.DiscardHandler),
		Cut: func(_ context.Context, at change.LSN) (map[string]string, error) {
			instants := map[string]string{}
			for _, s := range once(at).Status().Tables {
				instants[s.Table] = s.Instant
			}
			return instants, nil
		},
	})
	if err != nil {
		m.t.Fatalf("seed %d, failure %d: validate: %v", seed, i, err)
	}
	if !report.OK() {
		m.t.Fatalf("seed %d, failure %d: lake and source differ: %+v", seed, i, report)
	}
}
