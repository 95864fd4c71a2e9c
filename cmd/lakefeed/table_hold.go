package main

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage/all"
)

// holdTable keeps the pipeline that fills a table, if there is one, from running until
// release is called, which is nil where nothing is kept from running. A pipeline that runs
// is an error.
func holdTable(ctx context.Context, t *hudi.Table, path string, log *slog.Logger) (held context.Context, release func(context.Context) error, err error) {
	owner, err := pipeline.OwnerOf(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	if owner == nil {
		return ctx, nil, nil
	}
	for _, at := range lakesOf(path, owner.Path) {
		lake, err := all.Open(ctx, at)
		if err != nil {
			return nil, nil, err
		}
		held, free, err := owner.Hold(ctx, lake, log)
		if err != nil {
			return nil, nil, joinRelease(ctx, err, release)
		}
		if free == nil {
			continue
		}
		ctx, release = held, both(release, free) //nolint:fatcontext // one lock within the other, two at most
	}
	return ctx, release, nil
}

// openHeld opens a table to change it, while its pipeline, if it has one, is kept from
// running. That pipeline is the table's only writer: once it is held, none lives.
func openHeld(ctx context.Context, path string, lock lockFlag, opts hudi.Options, open tableOpener) (held context.Context, t *hudi.Table, release func(context.Context) error, err error) {
	if t, err = open(ctx, path, opts, lock); err != nil {
		return nil, nil, nil, err
	}
	held, release, err = holdTable(ctx, t, path, opts.Logger)
	if err != nil || release == nil || lock.kind != lockAuto {
		return held, t, release, err
	}
	if t, err = open(held, path, opts, lockFlag{lockNone}); err != nil {
		return nil, nil, nil, joinRelease(ctx, err, release)
	}
	return held, t, release, nil
}

func both(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error { return joinRelease(ctx, b(ctx), a) } // a may be nil
}

func joinRelease(ctx context.Context, err error, release func(context.Context) error) error {
	if release == nil {
		return err
	}
	if cause := release(context.WithoutCancel(ctx)); err == nil {
		return cause
	}
	return err
}

// lakesOf are the URLs of the lakes that have a table, which is at a path or URL, in
// this folder: one, two where links lead to the table, none for a table that was moved.
func lakesOf(at, folder string) []string {
	at, query, _ := strings.Cut(at, "?")
	if scheme, _, ok := strings.Cut(at, "://"); ok && scheme != "file" {
		lake, ok := strings.CutSuffix(strings.TrimRight(at, "/"), "/"+folder)
		if !ok {
			return nil
		}
		if query != "" {
			lake += "?" + query
		}
		return []string{lake}
	}
	if u, err := url.Parse(at); err == nil && u.Scheme == "file" {
		at = u.Path
	}
	var lakes []string
	add := func(at string, err error) {
		lake, ok := strings.CutSuffix(filepath.ToSlash(at), "/"+folder)
		if err == nil && ok && (len(lakes) == 0 || lakes[0] != lake) {
			lakes = append(lakes, lake)
		}
	}
	add(filepath.Abs(at))
	resolved, err := filepath.EvalSymlinks(at)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	add(resolved, err)
	return lakes
}
