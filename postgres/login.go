package postgres

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// LoginError is a server that does not take us for whom we say that we are, or a token for it
// that could not be made.
type LoginError struct {
	// Passes says that the next try may do better, by itself: a token is made or a file read
	// anew for it, or it is somebody else whom the server asks, who may have been away.
	Passes bool
	// Before says that the server had let us in before: whoever starts anew, with what is
	// configured by now, may do better.
	Before bool
	Err    error

	way string // what helps
}

// Error is the cause.
func (e *LoginError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *LoginError) Unwrap() error { return e.Err }

// logins are the servers and users that were let in.
type logins struct{ seen sync.Map }

func loginTo(one *pgconn.Config) string { return fmt.Sprintf("%s@%s:%d", one.User, one.Host, one.Port) }

func (l *logins) note(one *pgconn.Config) {
	if l != nil {
		l.seen.Store(loginTo(one), true)
	}
}

func (l *logins) before(one *pgconn.Config) bool {
	if l == nil {
		return false
	}
	_, ok := l.seen.Load(loginTo(one))
	return ok
}

// authFailed is the server's function that refuses a password, a token or a certificate. One that
// lets nobody in from here, or not this role, is refused elsewhere.
const authFailed = "auth_failed"

// login says of a server that does not take us whether that may pass; other errors stay as they are.
func (o *Options) login(one *pgconn.Config, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != codePassword && (pg.Code != codeNotAllowed || pg.Routine != authFailed) {
		return err
	}
	e := &LoginError{Before: o.logins.before(one), Err: err}
	switch fixed := o.fixedPassword(); {
	case o.Password != nil:
		e.Passes = true
		e.way = fmt.Sprintf("the password is made anew for each try: see that the role may come in with it (GRANT rds_iam TO %s, and rds-db:connect for its AWS credentials), and that our clock is right", quote(one.User))
	case pg.Code == codeNotAllowed: // by LDAP, RADIUS, PAM, a certificate
		e.Passes = e.Before
		e.way = "see whom pg_hba.conf has the server ask, and what that one says of us"
	case fixed && e.Before:
		e.way = "it was accepted before, and stands fast for as long as this process runs (a passfile is read at each try): start again with the new one"
	case !fixed && (e.Before || one.Password != ""):
		e.Passes = true
		e.way = "the passfile is read at each try: put the right one there"
	default:
		e.way = "set PGPASSWORD, ~/.pgpass or the one in the URL"
	}
	return e
}

var passwordIn = regexp.MustCompile(`^[a-z]+://[^/?@]*:[^/?@]+@|(^|[?&\s])password\s*=`)

// fixedPassword reports whether the password is one that stays the same while the process runs.
func (o *Options) fixedPassword() bool {
	return os.Getenv("PGPASSWORD") != "" || passwordIn.MatchString(o.URL)
}
