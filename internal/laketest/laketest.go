// Package laketest runs the lakefeed binary in tests, as its users do.
//
//	l := laketest.New(t, db.URL, "      - match: public.*", "")
//	l.Run(0, "run", "--once")
package laketest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	binaryDir string
	lakes     atomic.Int64 // names of pipelines, and so of slots, differ
)

// Main runs a package's tests with run, and then removes the binary. It returns the exit code.
func Main(run func() int) int {
	code := run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	return code
}

// binary builds lakefeed once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lakefeed-e2e-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	if err := os.Chmod(dir, 0o755); err != nil { // a test may run it as another user
		return "", err
	}
	path := filepath.Join(dir, "lakefeed")
	out, err := exec.Command("go", "build", "-o", path, "lakefeed/cmd/lakefeed").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build lakefeed: %w\n%s", err, out)
	}
	return path, nil
})

// Lake is one pipeline's configuration and folder.
type Lake struct {
	Name   string // the pipeline's
	Dir    string // the lake's folder
	Config string // the configuration file

	t testing.TB
}

// New writes a configuration for the database at url; more is appended to the pipeline's keys.
func New(t testing.TB, url, tables, more string) *Lake {
	t.Helper()
	return NewAt(t, url, "", tables, more)
}

// NewAt is New with a lake elsewhere than in a folder: its URL; Dir is none then.
func NewAt(t testing.TB, url, lake, tables, more string) *Lake {
	t.Helper()
	dir := t.TempDir()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), lakes.Add(1))
	l := &Lake{t: t, Name: name, Dir: filepath.Join(dir, "lake"), Config: filepath.Join(dir, "lakefeed.yaml")}
	if lake == "" {
		lake = l.Dir
	} else {
		l.Dir = ""
	}
	text := fmt.Sprintf(`pipelines:
  - name: %s
    source:
      postgres:
        url: %q
        heartbeat_interval: 1s
    tables:
%s
    lake:
      url: %s
%s
`, name, url, tables, lake, more)
	if err := os.WriteFile(l.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// Command is lakefeed with the lake's configuration, not started yet.
func (l *Lake) Command(ctx context.Context, args ...string) *exec.Cmd {
	l.t.Helper()
	return Command(ctx, l.t, append(args, "-c", l.Config)...)
}

// Command is lakefeed without a configuration, not started yet.
func Command(ctx context.Context, t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(ctx, path, args...)
}

// Run runs lakefeed to its end, which must be exit code want, and returns what it printed.
func (l *Lake) Run(want int, args ...string) string {
	l.t.Helper()
	code, out := l.Exit(args...)
	if code != want {
		l.t.Fatalf("lakefeed %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

// Exit runs lakefeed to its end, and returns its exit code and what it printed.
func (l *Lake) Exit(args ...string) (code int, printed string) {
	l.t.Helper()
	cmd := l.Command(context.Background(), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), out.String()
}
