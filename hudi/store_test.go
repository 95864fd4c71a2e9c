package hudi

import (
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
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

// wholeSeconds is a store that says of its files' times what S3 does.
type wholeSeconds struct{ storage.Store }

func (wholeSeconds) ModTimeStep() time.Duration { return time.Second }

// TestDatesInWholeSeconds lays base files over others: by their dates in whole seconds
// the commits must not have been completed before they began. Spark with Hudi 1.2.0
// would not see what is logged on these base files.
func TestDatesInWholeSeconds(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	opts := placeOptions(MergeOnRead)
	opts.Options = Options{Index: IndexSimple}
	store := wholeSeconds{mem.New()}
	table, err := Create(ctx, store, opts)
	if err != nil {
		t.Fatal(err)
	}
	var rebased []string
	note := func(instant string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		rebased = append(rebased, instant)
	}
	if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1})); err != nil {
		t.Fatal(err)
	}
	note(table.Insert(ctx, placeBatch(placeRow{"b", "eu", 0, 1}))) // into the small file
	if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 2})); err != nil {
		t.Fatal(err)
	}
	note(table.Compact(ctx, CompactOptions{}))
	found := 0
	for info, err := range store.List(ctx, metaFolder, false) {
		if err != nil {
			t.Fatal(err)
		}
		for _, instant := range rebased {
			if name := metaFolder + "/" + instant; info.Name != name+".commit" && info.Name != name+".deltacommit" {
				continue
			}
			found++
			if dated := timeline.FormatTime(info.ModTime.Truncate(time.Second)); dated < instant {
				t.Errorf("%s is dated %s", info.Name, dated)
			}
		}
	}
	if found != 2 || len(table.Slices()) != 1 {
		t.Errorf("%d commits, %d slices", found, len(table.Slices()))
	}
}
