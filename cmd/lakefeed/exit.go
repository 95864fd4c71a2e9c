package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// The exit codes. An orchestrator restarts the program after exitRetry and calls
// somebody after exitFinal.
const (
	exitOK    = 0
	exitRetry = 1 // failed, worth a retry; also a lock or slot that a living process holds
	exitUsage = 2 // the command line or the configuration
	exitFound = 3 // a check found something
	exitFinal = 4 // failed, and a retry will not help
)

// errFound ends a command whose check found something, which it has printed.
var errFound = errors.New("the check found something")

// usageError is a mistake on the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exitCode is the exit code of an error. One that joins several, as those of many
// tables, is final only if all of them are.
func exitCode(err error) int {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		worst := exitOK
		for _, e := range joined.Unwrap() {
			code := exitCode(e)
			if code == exitRetry {
				return exitRetry
			}
			worst = max(worst, code)
		}
		return worst
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	case is[*usageError](err), is[*config.Error](err), is[*pgconn.ParseConfigError](err), errors.Is(err, hudi.ErrNoTable):
		return exitUsage
	case postgres.Retryable(err), is[*pipeline.LockedError](err), errors.Is(err, context.Canceled):
		return exitRetry
	case final(err):
		return exitFinal
	}
	if inner := errors.Unwrap(err); inner != nil {
		return exitCode(inner)
	}
	return exitRetry
}

// final reports whether somebody has to do something before a retry can help.
func final(err error) bool {
	return is[*pipeline.PositionError](err) || is[*hudi.UnsupportedError](err) || is[*hudi.SchemaError](err) ||
		is[*hudi.CorruptError](err) || errors.Is(err, hudi.ErrTableExists) ||
		is[*pgconn.PgError](err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}
