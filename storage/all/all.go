// Package all opens a store by its URL.
package all

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/s3"
)

// Open opens the store at a URL: file:///data/lake, a plain path, or
// s3://bucket/lake?region=..., whose parameters [s3.ParseURL] has. It asks nothing of a
// server yet.
func Open(ctx context.Context, at string) (storage.Store, error) {
	folder, o, err := parse(at)
	if err != nil {
		return nil, &URLError{err}
	}
	if o != nil {
		return s3.Open(ctx, *o)
	}
	return file.Open(folder)
}

// URLError says that a URL is none of a store.
type URLError struct{ Err error }

// Error says what is wrong with it, and shows nothing that may be a secret.
func (e *URLError) Error() string { return "open folder: " + e.Err.Error() }

// Unwrap is what is wrong with it.
func (e *URLError) Unwrap() error { return e.Err }

// Name is the last part of the folder that a URL names, or the bucket's name.
func Name(at string) (string, error) {
	folder, bucket, err := parse(at)
	switch {
	case err != nil:
		return "", &URLError{err}
	case bucket != nil && bucket.Prefix == "":
		return bucket.Bucket, nil
	case bucket != nil:
		return path.Base(bucket.Prefix), nil
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return "", fmt.Errorf("name folder: %w", err)
	}
	return filepath.Base(folder), nil
}

// Check reports whether Open takes a URL. Its errors, as Open's, show nothing of it that
// may be a secret.
func Check(at string) error {
	_, _, err := parse(at)
	return err
}

// parse returns the path of a folder, or the options of a bucket.
func parse(at string) (folder string, bucket *s3.Options, err error) {
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
