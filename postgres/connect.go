package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Password makes the password of one connection to a host, where it does not stand in the
// URL, PGPASSWORD or a passfile: a token that expires, for one. An error passes by itself but for a *[SetupError].
type Password func(ctx context.Context, host string, port uint16, user string) (string, error)

// adopt puts our settings into a connection's parameters.
func adopt(cfg *pgconn.Config) {
	for name := range cfg.RuntimeParams { // "timezone" and "TimeZone" are one setting
		for ours := range settings {
			if strings.EqualFold(name, ours) {
				delete(cfg.RuntimeParams, name)
			}
		}
	}
	maps.Copy(cfg.RuntimeParams, settings)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 10*time.Second)
	cfg.BuildContextWatcherHandler = cancelOnServer
	cfg.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 6}}).DialContext
}

// connectConn makes an ordinary connection or one for replication, to the first host that
// takes it.
func connectConn(ctx context.Context, cfg *pgconn.Config, opts *Options) (*pgconn.PgConn, error) {
	return firstHost(ctx, cfg, opts, pgconn.ConnectConfig)
}

// connectSession makes a connection for statements.
func connectSession(ctx context.Context, cfg *pgx.ConnConfig, opts *Options) (*pgx.Conn, error) {
	return firstHost(ctx, &cfg.Config, opts, func(ctx context.Context, one *pgconn.Config) (*pgx.Conn, error) {
		c := cfg.Copy()
		c.Config = *one
		return pgx.ConnectConfig(ctx, c)
	})
}

// firstHost connects to the hosts of a URL, one after the other, until one takes it. Each
// has a password of its own, by its entry of the passfile or from Options.Password.
func firstHost[C any](ctx context.Context, cfg *pgconn.Config, opts *Options, connect func(context.Context, *pgconn.Config) (C, error)) (C, error) {
	hosts := byHost(cfg)
	chooseRole(cfg, hosts, opts.URL)
	var failed []error
	var fallback *pgconn.Config // would do, where no host is what was preferred
	var none C
	for _, one := range hosts {
		one.ValidateConnect = cfg.ValidateConnect
		if err := opts.setPassword(ctx, one, len(hosts) > 1); err != nil {
			failed = append(failed, err)
			continue
		}
		conn, err := connect(ctx, one)
		if err == nil {
			opts.logins.note(one)
			return conn, nil
		}
		err = opts.login(one, err)
		if _, other := errors.AsType[*pgconn.NotPreferredError](err); other && fallback == nil {
			fallback = one
		}
		if failed = append(failed, connectError(err)); ctx.Err() != nil {
			break
		}
	}
	if fallback != nil && ctx.Err() == nil {
		fallback.ValidateConnect = nil
		conn, err := connect(ctx, fallback)
		if err == nil {
			opts.logins.note(fallback)
		}
		return conn, connectError(opts.login(fallback, err))
	}
	if len(failed) == 1 {
		return none, failed[0]
	}
	return none, &hostsError{failed}
}

// byHost divides a configuration into one for each host. What a host is to be tried with
// (TLS, then plain) stays together.
func byHost(cfg *pgconn.Config) []*pgconn.Config {
	all := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	var hosts []*pgconn.Config
	for _, f := range all {
		if n := len(hosts); n > 0 && hosts[n-1].Host == f.Host && hosts[n-1].Port == f.Port {
			hosts[n-1].Fallbacks = append(hosts[n-1].Fallbacks, f)
			continue
		}
		one := cfg.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		hosts = append(hosts, one)
	}
	return hosts
}

// chooseRole says which of several hosts is meant where nobody did: the primary, whoever
// that is now. A former one that comes back as a standby is none.
func chooseRole(cfg *pgconn.Config, hosts []*pgconn.Config, dbURL string) {
	check := cfg.ValidateConnect
	if check == nil && len(hosts) > 1 && os.Getenv("PGTARGETSESSIONATTRS") == "" && !strings.Contains(dbURL, "target_session_attrs") {
		check = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if check == nil {
		return
	}
	cfg.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		err := check(ctx, conn)
		if _, other := errors.AsType[*pgconn.NotPreferredError](err); err == nil || other {
			return err
		}
		return &roleError{err}
	}
}

// roleError is a server that is not what target_session_attrs asks for. It may become that.
type roleError struct{ error }

func (e *roleError) Unwrap() error { return e.error }

// hostsError is what each of several hosts answered.
type hostsError struct{ errs []error }

// Error names each.
func (e *hostsError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return "none of " + strconv.Itoa(len(e.errs)) + " hosts: " + strings.Join(texts, "; ")
}

// Unwrap is the errors.
func (e *hostsError) Unwrap() []error { return e.errs }

// setPassword gives a connection its password.
func (o *Options) setPassword(ctx context.Context, one *pgconn.Config, several bool) error {
	if o.Password != nil {
		limited, cancel := context.WithTimeout(ctx, passwordTime)
		defer cancel()
		password, err := o.Password(limited, one.Host, one.Port, one.User)
		if err != nil {
			return passwordError(ctx, one, err)
		}
		one.Password = password
		return nil
	}
	if !several {
		return nil
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil // not a URL: what pgconn found for the first host is for all
	}
	u.Host = fmt.Sprintf("%s:%d", one.Host, one.Port) // which pgconn then looks up in the passfile
	q := u.Query()
	for _, name := range []string{"host", "port"} {
		q.Del(name)
	}
	if u.RawQuery = q.Encode(); strings.HasPrefix(one.Host, "/") {
		return nil
	}
	if alone, err := pgconn.ParseConfig(u.String()); err == nil && alone.Password != "" {
		one.Password = alone.Password
	}
	return nil
}

// passwordTime is how long a password may take to be made: who is asked for it may not answer at all.
const passwordTime = 30 * time.Second

// passwordError is a password that could not be made, which is tried again but where its maker says that it is no use.
func passwordError(ctx context.Context, one *pgconn.Config, err error) error {
	err = fmt.Errorf("make a password for %s: %w", one.Host, err)
	if setup, _ := errors.AsType[*SetupError](err); setup != nil || ctx.Err() != nil {
		return err
	}
	return &LoginError{Passes: true, Err: err}
}

// guarded reports whether nothing is sent to a server in clear text.
func guarded(cfg *pgconn.Config) bool {
	return cfg.TLSConfig != nil && !slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil })
}
