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
	scheme, _, ok := strings.Cut(at, "://")
	switch {
	case at == "":
		return nil, errors.New("open lake: no URL")
	case !ok:
		return file.Open(at)
	case scheme == "file":
		u, err := url.Parse(at)
		if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
			return nil, errors.New("open lake: want file:///path, with three slashes") // the rest may hold a password
		}
		return file.Open(u.Path)
	default:
		return nil, fmt.Errorf("open lake: no store for %s://: have file:///path and plain paths", scheme)
	}
}
