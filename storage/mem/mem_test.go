package mem_test

import (
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return mem.New() })
}
