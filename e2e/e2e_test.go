// Package e2e drives the lakefeed binary as its users do: a real PostgreSQL on one
// side, Hudi tables on the other.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lakefeed/internal/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if dir := binaryDir; dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var binaryDir string

// binary builds lakefeed once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lakefeed-e2e-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "lakefeed")
	out, err := exec.Command("go", "build", "-o", path, "lakefeed/cmd/lakefeed").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build lakefeed: %w\n%s", err, out)
	}
	return path, nil
})

// lake is one pipeline's configuration and folder.
type lake struct {
	t      testing.TB
	dir    string
	config string
}

// newLake writes a configuration for the database at url; more is appended to the pipeline's keys.
func newLake(t testing.TB, url, tables, more string) *lake {
	t.Helper()
	dir := t.TempDir()
	l := &lake{t: t, dir: filepath.Join(dir, "lake"), config: filepath.Join(dir, "lakefeed.yaml")}
	text := fmt.Sprintf(`pipelines:
  - name: e2e_%s
    source:
      postgres:
        url: %q
        heartbeat_interval: 1s
    tables:
%s
    lake:
      url: %s
%s
`, filepath.Base(dir)+strings.ToLower(strings.ReplaceAll(filepath.Base(filepath.Dir(dir)), "/", "_")), url, tables, l.dir, more)
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// command is lakefeed with the lake's configuration, not started yet.
func (l *lake) command(ctx context.Context, args ...string) *exec.Cmd {
	l.t.Helper()
	path, err := binary()
	if err != nil {
		l.t.Fatal(err)
	}
	return exec.CommandContext(ctx, path, append(args, "-c", l.config)...)
}

// run runs lakefeed to its end, which must be exit code want, and returns what it printed.
func (l *lake) run(want int, args ...string) string {
	l.t.Helper()
	cmd := l.command(context.Background(), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // the exit code says it
	if code := cmd.ProcessState.ExitCode(); code != want {
		l.t.Fatalf("lakefeed %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out.String())
	}
	return out.String()
}
