// Package parity lets the engines that Lakefeed's users have read and change its
// tables: Spark with Hudi 1.2.0 and 0.15.0, and hudi-rs. Tests of this and other
// packages hold their answers against rows that come from elsewhere.
//
//	for _, e := range parity.Engines(t) {
//		rows, err := e.Read(ctx, table, parity.Read{NoMeta: true})
//		if err != nil {
//			t.Fatal(err)
//		}
//		if d := parity.Diff(want, rows); d != "" {
//			t.Errorf("%s: %s", e, d)
//		}
//	}
//
// Rows are canonical JSON lines: decimals as strings, timestamps as UTC ISO 8601
// with microseconds, dates ISO, binary base64, NaN and infinities as strings.
//
// Each engine is one Python process (engine/verify_hudi.py serve) that a test
// binary starts with the first job and keeps: the first query of a Spark costs half
// a minute. `make setup` installs the engines.
//
// Files: engine.go the processes, jobs.go what they can do, postgres.go the same rows
// as PostgreSQL prints them, diff.go comparing rows.
package parity

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

//go:embed engine/*.py engine/*.java
var scripts embed.FS

// Engine is one reader of Hudi tables. Its jobs run one after another; its methods
// may be called side by side.
type Engine struct {
	name string
	hudi string // the release of Hudi in Spark, empty for hudi-rs

	mu     sync.Mutex
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan []byte // what the process answers; closed at its end
	stderr *tail
}

// engines are those of this process, started as needed.
var engines = []*Engine{
	{name: "Spark with Hudi 1.2.0", hudi: "1.2.0"},
	{name: "Spark with Hudi 0.15.0", hudi: "0.15.0"},
	{name: "hudi-rs"},
}

// jobTimeout bounds one job, a cold start included.
const jobTimeout = 5 * time.Minute

// Engines returns every engine. Where they are not installed the test is skipped,
// or fails if the variable CI is set. Without LAKEFEED_PARITY, which `make parity` sets, it is
// skipped: plain `go test ./...` is to take minutes only.
func Engines(t testing.TB) []*Engine {
	t.Helper()
	require(t)
	return engines
}

// Spark returns Spark with a release of Hudi, 1.2.0 or 0.15.0, as [Engines] does.
func Spark(t testing.TB, hudi string) *Engine {
	t.Helper()
	require(t)
	for _, e := range engines {
		if e.hudi == hudi {
			return e
		}
	}
	t.Fatalf("there is no engine with Hudi %q", hudi)
	return nil
}

// HudiRS returns hudi-rs, as [Engines] does.
func HudiRS(t testing.TB) *Engine {
	t.Helper()
	require(t)
	return engines[len(engines)-1]
}

// Main runs a package's tests with run and then ends the engines. It returns the exit code.
func Main(run func() int) int {
	code := run()
	for _, e := range engines {
		e.Close()
	}
	return code
}

func require(t testing.TB) {
	t.Helper()
	if os.Getenv("LAKEFEED_PARITY") == "" {
		t.Skip("the engines take minutes: make parity runs these tests")
	}
	if _, err := os.Stat(filepath.Join(home(), "venv", "stamp")); err != nil {
		ci.Missing(t, "Spark and hudi-rs are not installed, run `make setup`: %v", err)
	}
}

// home is where scripts/install-interop.sh puts the engines.
func home() string { return filepath.Join(pgserver.CacheDir(), "interop") }

// String is the engine's name.
func (e *Engine) String() string { return e.name }

// Hudi is the release of Hudi in Spark; it is empty for hudi-rs.
func (e *Engine) Hudi() string { return e.hudi }

// Close ends the engine's process. The next job starts a new one.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop()
}

func (e *Engine) stop() {
	if e.cmd == nil {
		return
	}
	_ = e.stdin.Close() // asks it to end
	deadline := time.AfterFunc(10*time.Second, func() { _ = e.cmd.Process.Kill() })
	for range e.lines { // answers that nobody waits for
		continue
	}
	_ = e.cmd.Wait()
	deadline.Stop()
	e.cmd = nil
}

func (e *Engine) start() error {
	dir, err := os.MkdirTemp("", "lakefeed-parity-")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, scripts); err != nil {
		return err
	}
	hudi := e.hudi
	if hudi == "" {
		hudi = "none" // Spark is never asked for
	}
	cmd := exec.Command(filepath.Join(home(), "venv", "bin", "python"), filepath.Join(dir, "engine", "verify_hudi.py"), "--hudi", hudi, "serve")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LAKEFEED_INTEROP="+home(), "JAVA_HOME="+filepath.Join(home(), "java"), "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1")
	e.stderr = &tail{}
	cmd.Stderr = e.stderr
	if e.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	e.cmd, e.lines = cmd, make(chan []byte, 1)
	go func(lines chan<- []byte) {
		defer os.RemoveAll(dir)
		defer close(lines)
		for r := bufio.NewReader(stdout); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			if bytes.HasPrefix(line, []byte("{")) { // Spark itself prints there too
				lines <- line
			}
		}
	}(e.lines)
	return nil
}

// do sends one job and decodes its result.
func (e *Engine) do(ctx context.Context, job map[string]any, result any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cmd == nil {
		if err := e.start(); err != nil {
			return fmt.Errorf("start %s: %w", e, err)
		}
	}
	line, err := json.Marshal(job)
	if err != nil {
		return err
	}
	if _, err := e.stdin.Write(append(line, '\n')); err != nil {
		return e.died()
	}
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	select {
	case line, ok := <-e.lines:
		if !ok {
			return e.died()
		}
		return e.decode(line, result)
	case <-ctx.Done():
		_ = e.cmd.Process.Kill() // its next answer would be that of another job
		e.stop()
		return fmt.Errorf("%s, %v: %w", e, job["cmd"], ctx.Err())
	}
}

func (e *Engine) decode(line []byte, result any) error {
	var answer struct {
		OK     bool
		Error  string
		Result json.RawMessage
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return fmt.Errorf("%s answers %.200s: %w", e, line, err)
	}
	if !answer.OK {
		return &RefusedError{Engine: e.name, Text: answer.Error}
	}
	return json.Unmarshal(answer.Result, result)
}

// RefusedError is an engine's own error, as it words it.
type RefusedError struct {
	Engine, Text string
}

// Error names the engine and quotes it.
func (err *RefusedError) Error() string { return err.Engine + ": " + err.Text }

func (e *Engine) died() error {
	e.stop()
	return errors.New(e.name + " ended: " + e.stderr.String())
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	t.buf = t.buf[max(0, len(t.buf)-4000):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
