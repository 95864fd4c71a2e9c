// Package pgserver runs a private PostgreSQL: initdb and postgres in a folder of
// the caller's, on a Unix socket and a free loopback port, for the demo and for
// tests. It uses the binaries that are there (see [Find]), or fetches them if asked.
//
//	s, err := pgserver.New(ctx, dir, pgserver.Options{})
//	if err != nil {
//		return err
//	}
//	defer s.Stop("fast")
//	conn, err := pgx.Connect(ctx, s.URL("postgres"))
//
// Files: pgserver.go the life of a server, binaries.go where its programs are,
// fetch.go how they are downloaded, user_unix.go the user it runs as (PostgreSQL
// refuses root).
package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options say which server to run. The zero value works.
type Options struct {
	// Version is the major version, such as 15. Zero takes [DefaultVersion] where
	// it is installed, else the newest that is.
	Version int
	// Conf adds to, or overrides, the settings of postgresql.conf.
	Conf map[string]string
	// StartTimeout bounds the wait for a server to accept connections, crash
	// recovery included. The default is one minute.
	StartTimeout time.Duration
	// Fetch, where it is not nil, has a missing PostgreSQL downloaded (see [Fetch]),
	// and is told so. By default a missing one is an error.
	Fetch io.Writer
}

// DefaultVersion is the major version that New prefers.
const DefaultVersion = 15

// defaults are settings for a small server whose data may be lost with its machine.
var defaults = map[string]string{
	"wal_level":             "logical",
	"fsync":                 "off",
	"full_page_writes":      "off",
	"max_wal_senders":       "20",
	"max_replication_slots": "20",
	"max_connections":       "60",
	"shared_buffers":        "64MB",
	"max_wal_size":          "512MB",
	"listen_addresses":      "127.0.0.1",
}

// Server is one private PostgreSQL. Its methods are not safe for concurrent use,
// but URL, Bin and the accessors are.
type Server struct {
	// Version is the server's major version.
	Version int

	dir      string // holds data/, socket and postgres.log
	bin      string
	port     int
	password string
	timeout  time.Duration
	proc     *process // nil while stopped
}

// New makes a database cluster under dir, which must be empty or missing, and
// starts its server.
func New(ctx context.Context, dir string, opts Options) (*Server, error) {
	b, err := findOrFetch(opts.Version, opts.Fetch)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{Version: b.Version, dir: dir, bin: b.Dir, password: rand.Text(), timeout: opts.StartTimeout}
	if s.timeout == 0 {
		s.timeout = time.Minute
	}
	if len(s.socket()) > 100 {
		return nil, fmt.Errorf("%s is too long a path for a Unix socket: use a shorter folder", dir)
	}
	if err := s.initdb(ctx); err != nil {
		return nil, fmt.Errorf("make a PostgreSQL %d cluster in %s: %w", s.Version, dir, err)
	}
	if err := s.configure(opts.Conf); err != nil {
		return nil, err
	}
	if err := s.startAnywhere(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// startAnywhere starts the server on a free port.
func (s *Server) startAnywhere(ctx context.Context) (err error) {
	// The free port may be taken by another program before postgres binds it.
	for try := 1; ; try++ {
		if s.port, err = freePort(ctx); err != nil {
			return err
		}
		if err = s.Start(); err == nil || try == 3 || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
}

// URL is the connection string of a database, for the superuser postgres.
func (s *Server) URL(db string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + db,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Port is the server's loopback port. It stays the same over Stop and Start.
func (s *Server) Port() int { return s.port }

// SocketDir is the folder of the server's Unix socket, on which the superuser
// postgres needs no password.
func (s *Server) SocketDir() string { return s.dir }

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// LogFile is what the server prints.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "postgres.log") }

// Bin is the path of one of the server's programs, such as psql or pg_recvlogical.
func (s *Server) Bin(name string) string { return filepath.Join(s.bin, name) }

// PID is the postmaster's process id, or 0 while the server is stopped.
func (s *Server) PID() int {
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Start starts a stopped server and waits until it accepts connections.
func (s *Server) Start() error {
	if s.proc != nil {
		return errors.New("the server is running")
	}
	for deadline := time.Now().Add(s.timeout); ; {
		err := s.startOnce()
		// The children of a killed postmaster need a moment to notice.
		if err == nil || time.Now().After(deadline) || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (s *Server) startOnce() error {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own handle
	begin, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	// No context: the server outlives the call, Stop ends it.
	cmd := exec.Command(s.Bin("postgres"), "-D", s.DataDir(), "-p", strconv.Itoa(s.port), "-k", s.dir) //nolint:noctx // see above
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if s.proc, err = start(cmd); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := s.awaitReady(); err != nil {
		_ = s.Stop("immediate")
		return fmt.Errorf("start PostgreSQL %d: %w%s", s.Version, err, s.logTail(begin))
	}
	return nil
}

// awaitReady waits for the word "ready" that the postmaster writes into its pid
// file once it accepts connections.
func (s *Server) awaitReady() error {
	limit := time.NewTimer(s.timeout)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	pid := strconv.Itoa(s.PID())
	for {
		b, _ := os.ReadFile(filepath.Join(s.DataDir(), "postmaster.pid")) // missing until the server is up
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if lines[0] == pid && strings.TrimSpace(lines[len(lines)-1]) == "ready" {
			return nil
		}
		select {
		case <-s.proc.done:
			return errors.New("postgres ended")
		case <-limit.C:
			return fmt.Errorf("not ready after %s", s.timeout)
		case <-tick.C:
		}
	}
}

// Stop stops the server and waits for its end. Mode is as in pg_ctl: "smart"
// waits for clients, "fast" disconnects them, "immediate" skips the shutdown, so
// that the next Start recovers as after a crash. "kill" sends SIGKILL to the
// postmaster. Stopping a stopped server does nothing.
func (s *Server) Stop(mode string) error {
	if s.proc == nil {
		return nil
	}
	sig, ok := signals[mode]
	if !ok {
		return fmt.Errorf("unknown mode %q: smart, fast, immediate or kill", mode)
	}
	if err := s.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop postgres: %w", err)
	}
	<-s.proc.done // its exit status says nothing that the mode does not
	s.proc = nil
	return nil
}

// initdb makes the data directory, as the user that the server will run as.
func (s *Server) initdb(ctx context.Context) error {
	if err := makeDir(s.dir); err != nil {
		return err
	}
	pw := filepath.Join(s.dir, "password")
	if err := writeOwned(pw, s.password+"\n"); err != nil {
		return err
	}
	defer os.Remove(pw)
	args := []string{
		"-D", s.DataDir(), "-U", "postgres", "--pwfile", pw, "--auth-local=trust", "--auth-host=scram-sha-256",
		"-E", "UTF8", "--no-locale", "--no-sync",
	}
	cmd := exec.CommandContext(ctx, s.Bin("initdb"), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = serverAttr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// configure appends the settings to postgresql.conf; the last one of a name counts.
func (s *Server) configure(conf map[string]string) error {
	all := maps.Clone(defaults)
	maps.Copy(all, conf)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(all[k], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.DataDir(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

func (s *Server) socket() string {
	return filepath.Join(s.dir, ".s.PGSQL.65535.lock")
}

// logTail is the end of what the server printed since it was started.
func (s *Server) logTail(begin int64) string {
	b, err := os.ReadFile(s.LogFile())
	if err != nil || int64(len(b)) <= begin {
		return ""
	}
	b = b[begin:]
	return "\n" + strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
