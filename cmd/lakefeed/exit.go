package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/query"
	"lakefeed/storage/all"
	"lakefeed/storage/s3"
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
	if list := joined(err); list != nil {
		worst := exitOK
		for _, e := range list {
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
	case is[*usageError](err), is[*config.Error](err), is[*pgconn.ParseConfigError](err), errors.Is(err, hudi.ErrNoTable),
		errors.Is(err, pipeline.ErrNoTables), is[*query.SQLError](err), errors.Is(err, errNoTables),
		is[*hudi.OptionError](err), is[*change.ConditionError](err), is[*pipeline.ColumnError](err), is[*all.URLError](err):
		return exitUsage
	case final(err), errors.Is(err, hudi.ErrCleaned):
		return exitFinal
	case postgres.Retryable(err), is[*change.RewrittenError](err), is[*change.AlteredError](err), is[*pipeline.LockedError](err), is[*pipeline.ShardClashError](err), is[syscall.Errno](err), is[*s3.Error](err):
		return exitRetry
	case letInBefore(err):
		return exitRetry
	case is[*pgconn.PgError](err), is[*pipeline.TableError](err):
		return exitFinal
	}
	return exitRetry
}

// joined is the errors that err joins, nil where it is one. The tries to connect
// that a connection error lists are one.
func joined(err error) []error {
	for ; err != nil && !is[*pgconn.ConnectError](err); err = errors.Unwrap(err) {
		if j, ok := err.(interface{ Unwrap() []error }); ok {
			return j.Unwrap()
		}
	}
	return nil
}

// final reports whether somebody has to do something before a retry can help.
func final(err error) bool {
	if e, ok := errors.AsType[*s3.Error](err); ok {
		return e.Final()
	}
	if e, ok := errors.AsType[*pipeline.NoCutError](err); ok {
		return e.Final
	}
	return errors.Is(err, s3.ErrConditions) || is[*pipeline.PositionError](err) || is[*postgres.SetupError](err) || is[*postgres.ValueError](err) || is[*hudi.UnsupportedError](err) || is[*hudi.SchemaError](err) ||
		is[*hudi.CorruptError](err) || is[*hudi.RowError](err) || is[*hudi.PartitionError](err) || errors.Is(err, hudi.ErrTableExists) || errors.Is(err, query.ErrNoSQL) ||
		is[*types.ResourceNotFoundException](err) || // the table of a lock in DynamoDB
		errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)
}

// letInBefore reports whether a password is refused that was good before: another process may have another one.
func letInBefore(err error) bool {
	login, ok := errors.AsType[*postgres.LoginError](err)
	return ok && login.Before
}

// worthRetry reports whether a running pipeline should try again by itself.
func worthRetry(err error) bool {
	return !final(err) && (postgres.Retryable(err) || is[syscall.Errno](err) || is[*s3.Error](err))
}

// tableWorthRetry reports whether a table that stopped should be tried again: a right
// that is missing in the lake may be given back while the process runs.
func tableWorthRetry(err error) bool {
	return is[*pipeline.LakeError](err) || exitCode(&pipeline.TableError{Err: err}) == exitRetry
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}
