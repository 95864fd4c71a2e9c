package hudi

import (
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/mem"
)

func newStore(t *testing.T) storage.Store {
	t.Helper()
	return mem.New()
}
