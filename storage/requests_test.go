package storage_test

import (
	"context"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// asking is a store in memory that says to have asked a server once a Get.
type asking struct{ storage.Store }

func (a asking) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	storage.CountRequest(ctx, "GetObject", storage.RequestCount{Requests: 1, Received: 7})
	return a.Store.Get(ctx, name)
}

func TestCounted(t *testing.T) {
	t.Parallel()
	var table, call storage.Requests
	s := storage.Counted(asking{mem.New()}, &table)
	for range 2 {
		if _, _, err := s.Get(storage.CountRequests(t.Context(), &call), "f"); err == nil {
			t.Error("read a file that is not there")
		}
	}
	_, _, _ = s.Get(t.Context(), "f")
	want := storage.RequestCount{Requests: 3, Received: 21}
	if got := table.ByOperation()["GetObject"]; got != want || table.Total() != 3 || call.Total() != 2 {
		t.Errorf("the store counts %+v, the call %d", got, call.Total())
	}
}

func TestCountedIsAStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) storage.Store { return storage.Counted(mem.New(), new(storage.Requests)) })
}
