package s3_test

import (
	"testing"

	"lakefeed/internal/s3test"
	"lakefeed/storage"
	"lakefeed/storage/s3"
	"lakefeed/storage/storagetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store { return open(t, server.Bucket(t)) })
}

func open(t testing.TB, url string) *s3.Store {
	t.Helper()
	o, err := s3.ParseURL(url)
	check(t, err)
	s, err := s3.Open(t.Context(), o)
	check(t, err)
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
