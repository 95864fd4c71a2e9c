// Package all opens a store by its URL.
package all

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/s3"
)

// Open opens the store at a URL: file:///data/lake, a plain path, or
// s3://bucket/lake?region=..., whose parameters [s3.ParseURL] has. It asks nothing of a
// server yet.
func Open(ctx context.Context, at string) (storage.Store, error) {
	path, o, err := parse(at)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	if o != nil {
		return s3.Open(ctx, *o)
	}
	return file.Open(path)
}

// Check reports whether Open takes a URL. Its errors, as Open's, show nothing of it that
// may be a secret.
func Check(at string) error {
	_, _, err := parse(at)
	return err
}

// parse returns the path of a folder, or the options of a bucket.
func parse(at string) (path string, bucket *s3.Options, err error) {
	scheme, _, ok := strings.Cut(at, "://")
	switch {
	case at == "":
		return "", nil, errors.New("no URL")
	case !ok:
		return at, nil, nil
	case scheme == "file":
		u, err := url.Parse(at)
		if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
			return "", nil, errors.New("want file:///path, with three slashes") // the rest may hold a password
		}
		return u.Path, nil, nil
	case scheme == "s3" || scheme == "s3a":
		o, err := s3.ParseURL(at)
		if err != nil {
			return "", nil, fmt.Errorf("the URL %w", err)
		}
		return "", &o, nil
	}
	return "", nil, fmt.Errorf("no store for %s://: have s3://bucket/folder, file:///path and plain paths", scheme)
}
