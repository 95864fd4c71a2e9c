package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

// newAuthority has its own certificate in the file ca.pem.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, "ca")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign makes NAME.pem and NAME.key.
func (a *authority) sign(want *x509.Certificate, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	a.n++
	want.SerialNumber, want.NotBefore, want.NotAfter = big.NewInt(a.n), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = want, key
	}
	der, err := x509.CreateCertificate(rand.Reader, want, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{"pem": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+"."+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// install copies a file into a server's data directory, for its user.
func install(t *testing.T, s *pgtest.Server, from, name string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := os.Stat(s.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	to, who := filepath.Join(s.DataDir(), name), owner.Sys().(*syscall.Stat_t)
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(to, int(who.Uid), int(who.Gid)); err != nil {
		t.Fatal(err)
	}
}

// secured is a server that speaks TLS, as localhost, and lets "scram" in by password and "cert"
// by certificate, over TLS only.
func secured(t *testing.T, a *authority) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t, pgtest.Options{})
	a.sign(&x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, "server")
	install(t, s, a.file("server.pem"), "server.crt")
	install(t, s, a.file("server.key"), "server.key")
	install(t, s, a.file("ca.pem"), "ca.crt")
	hba := a.file("hba")
	if err := os.WriteFile(hba, []byte(`local all all trust
hostnossl all postgres 127.0.0.1/32 scram-sha-256
hostssl all scram 127.0.0.1/32 scram-sha-256
hostssl all cert 127.0.0.1/32 cert
`), 0o600); err != nil {
		t.Fatal(err)
	}
	install(t, s, hba, "pg_hba.conf")
	s.Exec(t, "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'",
		"CREATE ROLE scram LOGIN SUPERUSER PASSWORD 'pa55word'", "CREATE ROLE cert LOGIN SUPERUSER", "SELECT pg_reload_conf()")
	await(t, func() bool { return s.Query(t, "SHOW ssl")[0][0] == "on" })
	return s
}

// through is the database by another address.
func secureURL(db *pgtest.Database, user, host string, params url.Values) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: fmt.Sprintf("%s:%d", host, db.Server.Port()), Path: "/" + db.Name, RawQuery: params.Encode()}
	return u.String()
}

// passes reads a row through a connection.
func passes(t *testing.T, db *pgtest.Database, opts postgres.Options, dbURL string) {
	t.Helper()
	other := *db
	other.URL = dbURL
	f := open(t, &other, opts).begin().stream()
	db.Exec(t, "INSERT INTO t SELECT max(id) + 1, repeat('x', 100000) FROM t")
	if rows, failures := f.drain(); len(rows["t"]) != 1 || len(failures) > 0 {
		t.Errorf("%d rows, %v", len(rows["t"]), failures)
	}
	closeFeed(t, f)
	db.Exec(t, "SELECT pg_drop_replication_slot('"+postgres.SlotName(db.Name)+"')")
}

// TestTLS: each sslmode with certificates that fit and that do not, SCRAM bound to the channel,
// client certificates; copies and the stream go the same way.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	db := secured(t, a).NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
	a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "cert"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "client")
	passfile := a.file("passfile")
	if err := os.WriteFile(passfile, []byte("localhost:*:*:scram:pa55word\n127.0.0.1:*:*:scram:pa55word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(mode, root string, more ...string) url.Values {
		v := url.Values{"sslmode": {mode}, "passfile": {passfile}, "sslrootcert": {root}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	other := newAuthority(t)
	for _, c := range []struct {
		name, user, host string
		params           url.Values
		says             string // empty: it is let in
	}{
		{"verify-full, bound to the channel", "scram", "localhost", with("verify-full", a.file("ca.pem"), "channel_binding", "require", "require_auth", "scram-sha-256"), ""},
		{"verify-full, another name", "scram", "127.0.0.1", with("verify-full", a.file("ca.pem")), "127.0.0.1"},
		{"verify-ca, another name", "scram", "127.0.0.1", with("verify-ca", a.file("ca.pem")), ""},
		{"verify-full, another authority", "scram", "localhost", with("verify-full", other.file("ca.pem")), "authority"},
		{"client certificate", "cert", "localhost", with("verify-full", a.file("ca.pem"), "sslcert", a.file("client.pem"), "sslkey", a.file("client.key")), ""},
		{"no client certificate", "cert", "localhost", with("verify-full", a.file("ca.pem")), "cert"},
		{"clear text", "scram", "localhost", url.Values{"sslmode": {"disable"}, "passfile": {passfile}}, "no encryption"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dbURL := secureURL(db, c.user, c.host, c.params)
			if c.says == "" {
				passes(t, db, postgres.Options{}, dbURL)
				return
			}
			_, err := postgres.Open(t.Context(), postgres.Options{URL: dbURL, Pipeline: "p"})
			if err == nil || postgres.Retryable(err) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "pa55word") {
				t.Errorf("%v (retryable: %v)", err, postgres.Retryable(err))
			}
		})
	}
	plain := pgtest.NewDatabase(t)
	_, err := postgres.Open(t.Context(), postgres.Options{URL: strings.Replace(plain.URL, "sslmode=disable", "sslmode=require", 1), Pipeline: "p"})
	if err == nil || postgres.Retryable(err) || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

// TestPasswordOfEachConnection: a password that is good for one connection only is made anew for
// each, as tokens that expire are; it is never sent in clear text, nor printed.
func TestPasswordOfEachConnection(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	db := secured(t, a).NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
	var made atomic.Int64
	password := func(_ context.Context, host string, port uint16, user string) (string, error) {
		if host != "localhost" || int(port) != db.Server.Port() || user != "scram" {
			return "", fmt.Errorf("for %s at %s:%d", user, host, port)
		}
		token := fmt.Sprintf("token-%d", made.Add(1))
		db.Exec(t, "ALTER ROLE scram PASSWORD '"+token+"'")
		return token, nil
	}
	dbURL := secureURL(db, "scram", "localhost", url.Values{"sslmode": {"verify-full"}, "sslrootcert": {a.file("ca.pem")}})
	passes(t, db, postgres.Options{Password: password}, dbURL)
	if made.Load() < 4 { // catalog, messages, slot, stream
		t.Errorf("%d passwords", made.Load())
	}
	stale := func(context.Context, string, uint16, string) (string, error) { return "token-1", nil }
	_, err := postgres.Open(t.Context(), postgres.Options{URL: dbURL, Pipeline: "p", Password: stale})
	if err == nil || strings.Contains(err.Error(), "token-1") || !strings.Contains(err.Error(), "does not accept the password") || !postgres.Retryable(err) {
		t.Errorf("an old password: %v", err)
	}
	_, err = postgres.Open(t.Context(), postgres.Options{URL: strings.Replace(dbURL, "verify-full", "prefer", 1), Pipeline: "p", Password: password})
	if err == nil || !strings.Contains(err.Error(), "sslmode=verify-full") {
		t.Errorf("a way in clear text: %v", err)
	}
}

// TestHosts: of several hosts the first that is there is taken, with its own password.
func TestHosts(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	passfile := filepath.Join(t.TempDir(), "passfile")
	if err := os.WriteFile(passfile, []byte("127.0.0.1:1:*:*:other\n127.0.0.1:*:*:postgres:"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.User = url.User("postgres")
	u.RawQuery = "sslmode=disable&passfile=" + url.QueryEscape(passfile)
	u.Host = "127.0.0.1:1," + u.Host
	passes(t, db, postgres.Options{}, u.String())
	u.RawQuery += "&target_session_attrs=standby"
	_, err = postgres.Open(t.Context(), postgres.Options{URL: u.String(), Pipeline: "p"})
	if !postgres.Retryable(err) || !strings.Contains(err.Error(), "none of 2 hosts") || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "server is not in hot standby mode") {
		t.Errorf("no standby among them: %v", err)
	}
}
