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
)

// Open opens the store at a URL: file:///data/lake, or a plain path.
func Open(_ context.Context, at string) (storage.Store, error) {
	folder, err := locate(at)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	return file.Open(folder)
}

// Check reports whether there is a store for a URL, which it does not open.
func Check(at string) error {
	_, err := locate(at)
	return err
}

// locate is the folder that a URL names. Errors do not print the URL: it may hold a password.
func locate(at string) (folder string, err error) {
	scheme, _, ok := strings.Cut(at, "://")
	switch {
	case at == "":
		return "", errors.New("no URL")
	case !ok:
		return at, nil
	case scheme == "file":
		u, err := url.Parse(at)
		if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
			return "", errors.New("want file:///path, with three slashes")
		}
		return u.Path, nil
	default:
		return "", fmt.Errorf("no store for %s://: have file:///path and plain paths", scheme)
	}
}
