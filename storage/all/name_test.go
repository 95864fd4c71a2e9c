package all_test

import (
	"errors"
	"testing"

	"lakefeed/storage/all"
)

// TestName: parameters are no part of a folder's name.
func TestName(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"/data/lake/orders": "orders", "lake/orders/": "orders", "file:///data/lake/orders/": "orders",
		"s3://bucket/lake/orders": "orders",
		"s3://bucket/lake/orders/?endpoint=http://127.0.0.1:9000/store&region=eu-1": "orders",
		"s3a://bucket?region=eu-1": "bucket",
	} {
		if got, err := all.Name(at); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", at, got, err, want)
		}
	}
	if _, err := all.Name("gs://bucket/x"); !errors.As(err, new(*all.URLError)) {
		t.Errorf("%v", err)
	}
}
