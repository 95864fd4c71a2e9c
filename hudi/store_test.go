package hudi

import (
	"strings"
	"sync"
	"testing"

	"lakefeed/internal/s3test"
	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/s3"
)

// newStore is an empty store: in memory, for the tests of TestOnS3 a bucket.
func newStore(t *testing.T) storage.Store {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestOnS3") {
		return newBucket(t)
	}
	return mem.New()
}

var s3Servers sync.Map // by the name of the test that they end with

func newBucket(t *testing.T) storage.Store {
	t.Helper()
	server, ok := s3Servers.Load(t.Name())
	if !ok {
		server = s3test.Start(t)
		s3Servers.Store(t.Name(), server)
		t.Cleanup(func() { s3Servers.Delete(t.Name()) })
	}
	o, err := s3.ParseURL(server.(*s3test.Server).Bucket(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
