package postgres_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// onClosed is the error of a statement on a connection that its server has closed.
func onClosed(t *testing.T) error {
	t.Helper()
	ctx := t.Context()
	conn, err := pgconn.Connect(ctx, pgtest.NewDatabase(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
	return err
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{refused, true},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, true},
		{&net.DNSError{Err: "no such host", Name: "db"}, true},
		{io.ErrUnexpectedEOF, true},
		{&pgconn.PgError{Code: "57P01"}, true},
		{onClosed(t), true},
		{&pgconn.PgError{Code: "42501"}, false},
		{errors.New("anything"), false},
		// Of the lake, which the same error may be about.
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, false},
		{&fs.PathError{Op: "open", Path: "f", Err: syscall.EACCES}, false},
		{&fs.PathError{Op: "mkdir", Path: "f", Err: syscall.ENOTDIR}, false},
	} {
		if got := postgres.Retryable(fmt.Errorf("read: %w", c.err)); got != c.want {
			t.Errorf("%v: retryable is %t", c.err, got)
		}
	}
}
