package postgres_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// bounced starts PgBouncer before a database and returns the URL through it.
func bounced(t *testing.T, db *pgtest.Database, connect, settings string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program = "/usr/sbin/pgbouncer"; !exists(program) {
			ci.Missing(t, "PgBouncer is not installed, `make setup` fetches it: %v", err)
		}
	}
	listen, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listen.Addr().(*net.TCPAddr).Port
	if err := listen.Close(); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	config := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=postgres password=%s %s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nauth_type = any\nunix_socket_dir =\n%s\n",
		u.Port(), password, connect, port, settings)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	install(t, db.Server, config, "pgbouncer.ini")
	owner, err := os.Stat(db.Server.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	who := owner.Sys().(*syscall.Stat_t)
	cmd := exec.CommandContext(t.Context(), program, filepath.Join(db.Server.DataDir(), "pgbouncer.ini"))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who.Uid, Gid: who.Gid}}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	u.Host = fmt.Sprintf("127.0.0.1:%d", port)
	await(t, func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
		return err == nil && conn.Close() == nil
	})
	return u.String()
}

func exists(file string) bool { _, err := os.Stat(file); return err == nil }

// TestPooler: PgBouncer in the way is named, whether it refuses our settings, drops them, or
// passes them on and cannot pass on replication; no retry is made.
func TestPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	all := "search_path, IntervalStyle, extra_float_digits, bytea_output, xmloption, row_security, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, synchronous_commit, default_transaction_read_only"
	for name, settings := range map[string][2]string{
		"refuses settings":    {"", "pool_mode = session"},
		"drops settings":      {"", "pool_mode = session\nignore_startup_parameters = " + all},
		"by transaction":      {"", "pool_mode = transaction\nignore_startup_parameters = " + all},
		"refuses replication": {setAll, "pool_mode = session\nserver_reset_query =\nignore_startup_parameters = " + all},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.NewDatabase(t)
			dbURL := bounced(t, db, settings[0], settings[1])
			c, err := postgres.Open(t.Context(), postgres.Options{URL: dbURL, Pipeline: "p"})
			if err == nil {
				defer c.Close(t.Context())
				_, err = c.Identity(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "PgBouncer") || !strings.Contains(err.Error(), "connect to the database server itself") || postgres.Retryable(err) {
				t.Errorf("%v (retryable: %v)", err, postgres.Retryable(err))
			}
			wants(t, problems(t, postgres.Options{URL: dbURL, Pipeline: "p"}), "error : ", "PgBouncer", "connect to the database server itself")
		})
	}
}

// setAll makes the pooler's own sessions as ours are.
const setAll = `connect_query='set search_path = pg_catalog; set IntervalStyle = ISO; set extra_float_digits = 3; set bytea_output = hex; set row_security = off; set statement_timeout = 0; set TimeZone = ''UTC'''`
