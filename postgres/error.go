package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// SQLSTATEs that decide something.
const (
	codeObjectInUse    = "55006"
	codeLockTimeout    = "55P03"
	codeAdminShutdown  = "57P01"
	codeCrashShutdown  = "57P02"
	codeCannotConnect  = "57P03" // starting up, shutting down
	codeTooManyClients = "53300"
	codeSerialization  = "40001"
	codeDeadlock       = "40P01"
	classConnection    = "08"
	codeReadOnly       = "25006"
	codePassword       = "28P01"
	codeNotAllowed     = "28000" // by pg_hba.conf
	codePrivilege      = "42501"
	codeNotReady       = "55000" // for one, wal_level
	codeUndefined      = "42704" // for one, a slot or a publication
	codeLimit          = "53400" // for one, max_replication_slots
)

// SlotActiveError is a slot that another session reads.
type SlotActiveError struct {
	Slot string
	PID  int // the server's process that reads it, 0 where it is gone again
	Err  error
}

// Error names the slot and its reader.
func (e *SlotActiveError) Error() string {
	return fmt.Sprintf("replication slot %s is read by process %d of the database server: stop that reader (SELECT pg_terminate_backend(%d) ends its session)", e.Slot, e.PID, e.PID)
}

// Unwrap is the server's own error.
func (e *SlotActiveError) Unwrap() error { return e.Err }

// SetupError is something that a person has to set right: no retry helps.
type SetupError struct{ What string }

// Error says what, and the way out.
func (e *SetupError) Error() string { return e.What }

// brokenError is an error that came with the loss of the connection.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// Retryable reports whether the same call may succeed later: the server restarts,
// the network failed, connections are scarce, a lock or the slot is still held.
func Retryable(err error) bool {
	var value *ValueError
	var active *SlotActiveError
	var broken *brokenError
	var pg *pgconn.PgError
	var hosts *hostsError
	var pooler *poolerError
	var login *LoginError
	var role *roleError
	var behind *change.BehindError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.As(err, &value), errors.As(err, &certificate):
		return false
	case errors.As(err, &hosts):
		return slices.ContainsFunc(hosts.errs, Retryable)
	case errors.As(err, &pooler):
		return false
	case errors.As(err, &login):
		return login.Passes
	case errors.As(err, &role), errors.As(err, &behind):
		return true
	case errors.As(err, &active), errors.As(err, &broken):
		return true
	case errors.As(err, &pg):
		switch pg.Code {
		case codeObjectInUse, codeLockTimeout, codeAdminShutdown, codeCrashShutdown, codeCannotConnect,
			codeTooManyClients, codeSerialization, codeDeadlock:
			return true
		}
		return strings.HasPrefix(pg.Code, classConnection)
	}
	return isNetwork(err) || errors.Is(err, context.DeadlineExceeded) ||
		pgconn.SafeToRetry(err) || // nothing was sent: the server had closed the connection before
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ENOENT) // the Unix socket of a server that is down
}

// isNetwork reports whether an error came from the network. An error number of the
// operating system has the methods of net.Error, whatever it is about: a full disk
// is no network.
func isNetwork(err error) bool {
	var network net.Error
	if !errors.As(err, &network) {
		return false
	}
	_, number := network.(syscall.Errno) // itself; what it wraps may be one
	return !number
}
