package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage/s3"
)

func TestExitCode(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("pipeline shop: %w", err) }
	retry := error(&pipeline.LockedError{})
	stop := error(&pipeline.PositionError{})
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"none":             {nil, exitOK},
		"usage":            {usage("want %s", "x"), exitUsage},
		"configuration":    {&config.Error{}, exitUsage},
		"check":            {errFound, exitFound},
		"lock":             {wrap(retry), exitRetry},
		"position":         {wrap(stop), exitFinal},
		"disk full":        {wrap(syscall.ENOSPC), exitRetry},
		"read only":        {wrap(syscall.EROFS), exitFinal},
		"permission":       {wrap(&fs.PathError{Err: syscall.EACCES}), exitFinal},
		"refused":          {wrap(syscall.ECONNREFUSED), exitRetry},
		"setup":            {wrap(&postgres.SetupError{What: "x"}), exitFinal},
		"password":         {wrap(&postgres.LoginError{Err: &pgconn.PgError{Code: "28P01"}}), exitFinal},
		"password of then": {wrap(&postgres.LoginError{Err: &pgconn.PgError{Code: "28P01"}, Before: true}), exitRetry},
		"token":            {wrap(&postgres.LoginError{Err: errors.New("no credentials"), Passes: true}), exitRetry},
		"damaged":          {wrap(&hudi.CorruptError{Err: errors.New("x")}), exitFinal},
		"unknown":          {wrap(errors.New("x")), exitRetry},
		"schema":           {wrap(&pipeline.TableError{Err: errors.New("renamed column")}), exitFinal},
		"table, disk":      {wrap(&pipeline.TableError{Err: syscall.ENOSPC}), exitRetry},
		"s3, away":         {wrap(&s3.Error{}), exitRetry},
		"s3, slow":         {wrap(&pipeline.TableError{Err: &s3.Error{Status: 503, Code: "SlowDown"}}), exitRetry},
		"s3, forbidden":    {wrap(&s3.Error{Status: 403}), exitFinal},
		"s3, no bucket":    {wrap(&s3.Error{Status: 404, Code: "NoSuchBucket"}), exitFinal},
		"s3, conditions":   {wrap(s3.ErrConditions), exitFinal},
		"tables, all stop": {wrap(errors.Join(&pipeline.TableError{Err: stop}, &pipeline.TableError{Err: stop})), exitFinal},
		"tables, mixed":    {wrap(errors.Join(&pipeline.TableError{Err: stop}, &pipeline.TableError{Err: retry})), exitRetry},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
