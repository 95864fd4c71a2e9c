package hudi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// metItself is a store that writes a claim and answers, once, that another one did, as one does
// behind a proxy that sends the request again; the claim cannot be read then.
type metItself struct {
	storage.Store

	decides string // the end of the name of the file that is decided on then
	met     bool
	unread  bool
}

func (m *metItself) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	now, err := m.Store.PutIfMatch(ctx, name, data, v)
	if err == nil && !m.met && name == claimFile && bytes.Contains(data, []byte(m.decides+`"`)) {
		m.met, m.unread = true, true
		return "", fmt.Errorf("write %s: %w", name, storage.ErrConflict)
	}
	return now, err
}

func (m *metItself) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if name == claimFile && m.unread {
		m.unread = false
		return nil, "", storagetest.ErrFault
	}
	return m.Store.Get(ctx, name)
}

// A compaction of which it is not known whether it was decided on keeps its files: the next look
// at the claim may find that it was, and completes it.
func TestCompactionDecidedUnseen(t *testing.T) {
	t.Parallel()
	ctx, inner := t.Context(), newStore(t)
	store := &metItself{Store: inner, decides: ".commit"}
	table, err := Create(ctx, store, CreateOptions{
		Name: "model", Type: MergeOnRead, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: 1, Services: &ServicesOptions{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}})
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 2}})
	want := map[string]modelRow{"a": {seq: 2}, "b": {seq: 1}}
	_, err = table.Compact(ctx, CompactOptions{})
	if !store.met || err != nil && !errors.Is(err, storagetest.ErrFault) {
		t.Errorf("compact: %v, the claim met itself: %v", err, store.met)
	}
	other, err := Open(ctx, inner, Options{})
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, other, ReadOptions{}), want)
	if err := table.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
	if n := len(table.Timeline().Completed()); n != 3 {
		t.Errorf("%d commits on the timeline, want two and a compaction", n)
	}
}
