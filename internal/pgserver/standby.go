package pgserver

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// NewStandby makes a physical standby of a running server under dir, which must be empty or
// missing, by a base backup, and starts it. It reads the log through the physical slot
// "standby", which the primary keeps, and tells the primary what its readers need. With Conf
// as of Options. Promote it with pg_promote().
func NewStandby(ctx context.Context, primary *Server, dir string, conf map[string]string) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{Version: primary.Version, dir: dir, bin: primary.bin, password: primary.password, timeout: primary.timeout}
	if err := makeDir(s.dir); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.Bin("pg_basebackup"), "-D", s.DataDir(), "-h", primary.dir, "-p", strconv.Itoa(primary.port),
		"-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync", "-C", "-S", "standby")
	cmd.Dir = s.dir
	cmd.SysProcAttr = serverAttr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a base backup: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	if err := writeOwned(filepath.Join(s.DataDir(), "standby.signal"), ""); err != nil {
		return nil, err
	}
	all := map[string]string{
		"primary_slot_name":           "standby",
		"primary_conninfo":            fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", primary.dir, primary.port),
		"hot_standby_feedback":        "on",
		"wal_retrieve_retry_interval": "100ms",
	}
	maps.Copy(all, conf)
	if err := s.configure(all); err != nil {
		return nil, err
	}
	if err := s.startAnywhere(ctx); err != nil {
		return nil, err
	}
	return s, nil
}
