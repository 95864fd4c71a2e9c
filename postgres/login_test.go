package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestRefusedLogin: whether it may pass that the server does not let us in depends on where the password comes from.
func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	server.Exec(t, "CREATE ROLE feed LOGIN REPLICATION PASSWORD 'right'")
	passfile := filepath.Join(t.TempDir(), "passfile")
	write := func(password string) {
		if err := os.WriteFile(passfile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(user *url.Userinfo, more string) string {
		u := url.URL{Scheme: "postgres", User: user, Host: fmt.Sprintf("127.0.0.1:%d", server.Port()), Path: "/postgres", RawQuery: "sslmode=disable" + more}
		return u.String()
	}
	byFile := at(url.User("feed"), "&passfile="+url.QueryEscape(passfile))
	write("wrong")
	refused(t, "a passfile", openError(t, byFile), true, false, "is read at each try")
	refused(t, "a password in the URL", openError(t, at(url.UserPassword("feed", "wrong"), "")), false, false, "set PGPASSWORD")
	refused(t, "one among its parameters", openError(t, at(url.User("feed"), "&password=wrong")), false, false, "set PGPASSWORD")
	refused(t, "none", openError(t, at(url.User("feed"), "&passfile=/none")), false, false, "set PGPASSWORD")
	refused(t, "not by password at all", openError(t, at(url.User("nobody"), "&password=x")), false, false, "nobody")

	write("right")
	changing := openFeed(t, byFile)
	fixed := openFeed(t, at(url.UserPassword("feed", "right"), ""))
	server.Exec(t, "ALTER ROLE feed PASSWORD 'new'", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'feed'")
	again := func(c *postgres.Connector) error { _, err := c.Identity(t.Context()); return err }
	refused(t, "a passfile, before", again(changing), true, true, "is read at each try")
	refused(t, "the URL, before", again(fixed), false, true, "start again")
	write("new")
	if err := again(changing); err != nil {
		t.Errorf("with the new password: %v", err)
	}

	// The server asks somebody who is away.
	never, hba := openError, filepath.Join(t.TempDir(), "hba")
	if err := os.WriteFile(hba, []byte("local all all trust\nhost all all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=1 ldapprefix=\"cn=\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	install(t, server, hba, "pg_hba.conf")
	server.Exec(t, "SELECT pg_reload_conf()")
	await(t, func() bool { return strings.Contains(fmt.Sprint(never(t, byFile)), "LDAP") })
	refused(t, "by another", never(t, byFile), false, false, "pg_hba.conf")
	refused(t, "by another, before", again(changing), true, true, "pg_hba.conf")
}

// TestPasswordThatIsNotMade: a token that cannot be made now is no end, but where its maker says so.
func TestPasswordThatIsNotMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		passes bool
	}{{errors.New("credentials have expired"), true}, {&postgres.SetupError{What: "no region"}, false}} {
		password := func(context.Context, string, uint16, string) (string, error) { return "", c.err }
		opts := postgres.Options{URL: "postgres://feed@127.0.0.1:1/shop?sslmode=require", Pipeline: "p", Password: password}
		_, err := postgres.Open(t.Context(), opts)
		if err == nil || postgres.Retryable(err) != c.passes || !errors.Is(err, c.err) {
			t.Errorf("%v (retryable: %v)", err, postgres.Retryable(err))
		}
	}
}

// openError is why a connection cannot be made.
func openError(t *testing.T, dbURL string) error {
	t.Helper()
	c, err := postgres.Open(t.Context(), postgres.Options{URL: dbURL, Pipeline: "p"})
	if err == nil {
		_ = c.Close(t.Context()) // the test sees that there is no error
	}
	return err
}

func openFeed(t *testing.T, dbURL string) *postgres.Connector {
	t.Helper()
	c, err := postgres.Open(t.Context(), postgres.Options{URL: dbURL, Pipeline: "p"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // its sessions may be broken
	return c
}

// refused sees what is said of a login that was refused.
func refused(t *testing.T, name string, err error, passes, before bool, says string) {
	t.Helper()
	login, ok := errors.AsType[*postgres.LoginError](err)
	if !ok || postgres.Retryable(err) != passes || login.Before != before || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v (retryable: %v)", name, err, postgres.Retryable(err))
	}
}
