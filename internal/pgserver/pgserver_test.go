package pgserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

func TestFindByEnvironment(t *testing.T) {
	b, err := pgserver.Find(0)
	if err != nil {
		ci.Missing(t, "%v", err)
	}
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.Symlink(b.Dir, dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAKEFEED_PG_BIN", dir)
	if got, err := pgserver.Find(b.Version); err != nil || got.Dir != dir {
		t.Errorf("Find = %+v, %v; want the folder of LAKEFEED_PG_BIN", got, err)
	}
}

func TestFindSaysWhatToDo(t *testing.T) {
	_, err := pgserver.Find(9)
	if !errors.Is(err, pgserver.ErrNotInstalled) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("Find(9) = %v", err)
	}
}

func TestNewRefusesAFullFolder(t *testing.T) {
	if _, err := pgserver.Find(0); err != nil {
		ci.Missing(t, "%v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pgserver.New(t.Context(), dir, pgserver.Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("New in a folder with a file = %v", err)
	}
}

// TestFetch downloads; LAKEFEED_TEST_FETCH=1 asks for it.
func TestFetch(t *testing.T) {
	if os.Getenv("LAKEFEED_TEST_FETCH") == "" {
		t.Skip("set LAKEFEED_TEST_FETCH=1 to download PostgreSQL")
	}
	cache, err := os.MkdirTemp("", "lakefeed-cache-") // t.TempDir is closed to the server's user
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(cache)
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAKEFEED_CACHE", cache)
	b, err := pgserver.Fetch(16)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAKEFEED_PG_BIN", b.Dir)
	dir, err := os.MkdirTemp("", "lakefeed-pg-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := pgserver.New(t.Context(), dir, pgserver.Options{Version: 16})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop("fast"); err != nil {
		t.Error(err)
	}
}
