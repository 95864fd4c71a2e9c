package hudi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// faultyReads is a store of which one call that reads fails.
func faultyReads(inner storage.Store, at int, when storagetest.When) *storagetest.Faulty {
	return storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when, Reads: true, Only: storagetest.Call.Reads})
}

// checkFault sees that an error is that of the store, and does not call a file damaged.
func checkFault(err error) error {
	switch {
	case !errors.Is(err, storagetest.ErrFault):
		return fmt.Errorf("it is not the store's: %w", err)
	case isA[*CorruptError](err):
		return fmt.Errorf("it calls a file damaged: %w", err)
	}
	return nil
}

// readers are what is asked of tables, with the answer in words.
var readers = map[string]func(context.Context, *testing.T, *story, storage.Store) (string, error){
	"read": func(ctx context.Context, _ *testing.T, _ *story, store storage.Store) (string, error) {
		table, err := Open(ctx, store, Options{})
		if err != nil {
			return "", err
		}
		got, err := readStory(ctx, table)
		return fmt.Sprint(got), err
	},
	"changes": func(ctx context.Context, _ *testing.T, _ *story, store storage.Store) (string, error) {
		table, err := Open(ctx, store, Options{})
		if err != nil {
			return "", err
		}
		rows := int64(0)
		for batch, err := range table.Changes(ctx, ChangesOptions{From: table.Timeline().Completed()[0].Time}) {
			if err != nil {
				return "", err
			}
			rows += batch.NumRows()
		}
		return strconv.FormatInt(rows, 10), nil
	},
	"archived": func(ctx context.Context, _ *testing.T, _ *story, store storage.Store) (string, error) {
		table, err := Open(ctx, store, Options{})
		if err != nil {
			return "", err
		}
		var all []string
		for i, err := range table.Archived(ctx, "", "") {
			if err != nil {
				return "", err
			}
			all = append(all, i.String())
		}
		slices.Sort(all)
		return strings.Join(all, " "), nil
	},
	"files": func(ctx context.Context, _ *testing.T, _ *story, store storage.Store) (string, error) {
		table, err := Open(ctx, store, Options{})
		if err != nil {
			return "", err
		}
		files, err := table.Files(ctx)
		var all []string
		for _, f := range files {
			all = append(all, f.Path+" "+string(f.State))
		}
		return strings.Join(all, " "), err
	},
	"check": func(ctx context.Context, _ *testing.T, _ *story, store storage.Store) (string, error) {
		report, err := Check(ctx, store, CheckOptions{})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%+v", *report), nil
	},
	"prepare": func(ctx context.Context, t *testing.T, l *story, store storage.Store) (string, error) {
		table, err := l.open(ctx, store, newKeyStore(t))
		if err != nil {
			return "", err
		}
		oldest, err := table.OldestAsOf(ctx)
		if err != nil {
			return "", err
		}
		value, at, err := table.LastExtra(ctx, BucketsKey)
		return fmt.Sprint(oldest, value, at), err
	},
}

// TestReaderFault lets one call fail of those that only read: they answer rightly or say that the
// store failed, and no file is called damaged or missing for it.
func TestReaderFault(t *testing.T) {
	t.Parallel()
	eachStory(t, func(t *testing.T, l *story) {
		inner, ctx := newStore(t), t.Context()
		if _, err := (&storyRun{t: t, l: l, keys: newKeyStore(t)}).tell(ctx, inner); err != nil {
			t.Fatal(err)
		}
		for name, ask := range readers {
			counter := faultyReads(inner, 0, 0)
			want, err := ask(ctx, t, l, counter)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			calls := len(counter.Calls())
			for n := range some(t, 3*calls, 199) {
				at, when := 1+n/3, storagetest.When(n%3)
				store := faultyReads(inner, at, when)
				got, err := ask(ctx, t, l, store)
				if err != nil {
					err = checkFault(err)
				} else if got != want {
					err = fmt.Errorf("got %s\nwant %s", got, want)
				}
				if err != nil {
					t.Errorf("%s, read %d, %v, fails as %d: %v", name, at, store.Calls()[min(at, len(store.Calls()))-1], when, err)
				}
			}
		}
	})
}
