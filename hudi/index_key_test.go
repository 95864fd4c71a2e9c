package hudi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lakefeed/hudi/keyindex"
)

func newKeyStore(t *testing.T) *keyindex.Store {
	t.Helper()
	keys, err := keyindex.OpenMem()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	return keys
}

// keyTable makes a table with an index of keys.
func keyTable(t *testing.T, typ TableType, keys KeyStore) *Table {
	t.Helper()
	opts := placeOptions(typ)
	opts.Options = Options{Index: IndexGlobalKey, Buckets: 2, Keys: keys}
	table, err := Create(t.Context(), newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestKeyIndexIsNeverStale changes the table behind the index's back, in each way that
// a timeline can change, and moves rows then.
func TestKeyIndexIsNeverStale(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		for name, change := range map[string]func(t *testing.T, table *Table, keys KeyStore) *Table{
			"nothing": func(_ *testing.T, table *Table, _ KeyStore) *Table { return table },
			"another writer": func(t *testing.T, table *Table, _ KeyStore) *Table {
				other, err := Open(t.Context(), table.store, Options{Index: IndexGlobalKey, Keys: newKeyStore(t)})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := other.Upsert(t.Context(), placeBatch(placeRow{"a", "us", 0, 2}, placeRow{"b", "us", 0, 2})); err != nil {
					t.Fatal(err)
				}
				return table
			},
			"compacted and cleaned": func(t *testing.T, table *Table, _ KeyStore) *Table {
				other, err := Open(t.Context(), table.store, Options{Index: IndexGlobalKey, Keys: newKeyStore(t)})
				if err != nil {
					t.Fatal(err)
				}
				for seq := range int64(3) {
					if _, err := other.Upsert(t.Context(), placeBatch(placeRow{"a", "us", 0, 2 + seq})); err != nil {
						t.Fatal(err)
					}
					if _, err := other.Compact(t.Context(), CompactOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := other.Clean(t.Context(), CleanOptions{RetainCommits: 1}); err != nil {
					t.Fatal(err)
				}
				return table
			},
			"converted and clustered": func(t *testing.T, table *Table, _ KeyStore) *Table {
				if err := table.Convert(t.Context(), ConvertOptions{Buckets: 3}); err != nil || table.Buckets() != 3 {
					t.Fatal(table.Buckets(), err)
				}
				if _, err := table.Cluster(t.Context(), ClusterOptions{}); err == nil {
					t.Error("buckets were joined")
				}
				if res, err := table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"id"}}); err != nil || res.Written != res.Replaced {
					t.Fatal(res, err)
				}
				return table
			},
			"restored to a savepoint of long ago": func(t *testing.T, table *Table, _ KeyStore) *Table {
				first, _ := table.Timeline().Last()
				_, err := table.Savepoint(t.Context(), SavepointOptions{Instant: first.Time})
				for seq := range int64(5) {
					if err == nil {
						_, err = table.Upsert(t.Context(), placeBatch(placeRow{"a", "us", 0, 2 + seq}, placeRow{"d", "ap", 0, 2 + seq}))
					}
				}
				if err == nil {
					_, err = table.Restore(t.Context(), first.Time)
				}
				if err != nil {
					t.Fatal(err)
				}
				other, err := Open(t.Context(), table.store, Options{Index: IndexGlobalKey, Keys: newKeyStore(t)})
				if err == nil { // the timeline begins with it, the savepoint aside
					_, err = other.Upsert(t.Context(), placeBatch(placeRow{"z", "eu", 0, 1}))
				}
				if err == nil {
					_, err = other.Delete(t.Context(), "z")
				}
				if err != nil {
					t.Fatal(err)
				}
				return table
			},
			"another table's index": func(t *testing.T, table *Table, keys KeyStore) *Table {
				elsewhere := keyTable(t, typ, keys)
				if _, err := elsewhere.Upsert(t.Context(), placeBatch(placeRow{"a", "nowhere", 0, 1})); err != nil {
					t.Fatal(err)
				}
				return table
			},
			"the index is lost": func(t *testing.T, table *Table, keys KeyStore) *Table {
				if err := keys.Clear(); err != nil {
					t.Fatal(err)
				}
				return table
			},
			"garbage": func(t *testing.T, table *Table, keys KeyStore) *Table {
				if err := keys.Save(map[string]string{"a": "place=nowhere"}, []byte("{")); err != nil {
					t.Fatal(err)
				}
				return table
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, keys := t.Context(), newKeyStore(t)
				table := keyTable(t, typ, keys)
				if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"c", "eu", 0, 1}, placeRow{"d", "us", 0, 1})); err != nil {
					t.Fatal(err)
				}
				table = change(t, table, keys)
				if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "ap", 0, 9}, placeRow{"d", "eu", 0, 9})); err != nil {
					t.Fatal(err)
				}
				if _, err := table.Delete(ctx, "c", "b"); err != nil {
					t.Fatal(err)
				}
				diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=ap a 9", "place=eu d 9"})
			})
		}
	})
}

// TestKeyIndexOfDamage lets a log file be lost or broken that the index has not taken in, by
// one commit or as a whole: a row whose key it does not know would come twice.
func TestKeyIndexOfDamage(t *testing.T) {
	t.Parallel()
	for what, d := range damages {
		if what == "grown" {
			continue
		}
		for _, anew := range []bool{false, true} {
			ctx, keys := t.Context(), newKeyStore(t)
			table := keyTable(t, MergeOnRead, keys)
			other, err := Open(ctx, table.store, Options{Index: IndexGlobalKey, Buckets: 2, Keys: newKeyStore(t)})
			if err != nil {
				t.Fatal(err)
			}
			for _, write := range []struct {
				table *Table
				row   placeRow
			}{{table, placeRow{"a", "eu", 0, 1}}, {other, placeRow{"a", "eu", 0, 2}}} {
				if _, err := write.table.Upsert(ctx, placeBatch(write.row)); err != nil {
					t.Fatal(err)
				}
			}
			if anew {
				if err := keys.Clear(); err != nil {
					t.Fatal(err)
				}
			}
			file := other.Slices()[0].Logs[0]
			damage(t, table.store, file.Path(), d.make)
			_, err = table.Upsert(ctx, placeBatch(placeRow{"a", "us", 0, 3}))
			corrupt := new(CorruptError)
			if !errors.As(err, &corrupt) || corrupt.File != file.Path() || !strings.Contains(err.Error(), d.says) {
				t.Errorf("%s, index made anew %v: got %v, want %s of %s", what, anew, err, d.says, file.Path())
			}
		}
	}
}

// TestKeyIndexOfUnseenArchival finds the row of a key whose commit was pending when the
// index was brought up to date, and was archived before the next time.
func TestKeyIndexOfUnseenArchival(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		opts := placeOptions(typ)
		opts.Options = Options{Index: IndexGlobalKey, Buckets: 1, Keys: newKeyStore(t), Concurrency: Concurrency{Mode: Optimistic}}
		table, err := Create(ctx, store, opts)
		u := unseenArchival{t: t, writer: table}
		u.check(err)
		u.upsert(table, placeRow{"a", "eu", 0, 1})
		opts.Keys = newKeyStore(t)
		other, err := Open(ctx, store, opts.Options)
		u.check(err)
		_, err = other.transactOnce(ctx, Upsert, func(x *Txn) error {
			u.upsert(table, placeRow{"c", "eu", 0, 1})
			batch := placeBatch(placeRow{"b", "us", 0, 1})
			keys, err := RecordKeys(batch, []string{"id"})
			u.check(err)
			g, err := x.Group(ctx, "place=us", 0)
			u.check(err)
			u.check(g.Upsert(ctx, batch, keys))
			return g.Close(ctx)
		})
		u.check(err)
		res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
		u.check(err)
		if res.Instants != 2 {
			t.Fatalf("archived: %+v", res)
		}
		u.upsert(table, placeRow{"b", "eu", 0, 2})
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=eu a 1", "place=eu b 2", "place=eu c 1"})
	})
}

// TestKeyIndexReadsWhatItDidNotSee lets rows be written past it, group by group.
func TestKeyIndexReadsWhatItDidNotSee(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	keys := newKeyStore(t)
	table := keyTable(t, MergeOnRead, keys)
	want := []string{}
	for i := range int64(3) {
		if _, err := table.Upsert(ctx, placeBatch(placeRow{fmt.Sprint("k", i), "eu", 0, i})); err != nil {
			t.Fatal(err)
		}
		want = append(want, "place=eu")
	}
	got, err := keys.Load([]string{"k2", "k0", "none", "k1"})
	if err != nil || !slices.Equal(got, []string{want[2], want[0], "", want[1]}) {
		t.Fatalf("index has %q, %v", got, err)
	}
	if _, err := Open(ctx, table.store, Options{}); err != nil {
		t.Fatal(err)
	}
	without, err := Open(ctx, table.store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := without.Upsert(ctx, placeBatch(placeRow{"k1", "us", 0, 1})); err == nil {
		t.Error("a writer without the index of keys wrote")
	}
}

// TestKeyIndexForgets sees that keys of rows that were deleted are not kept, nor those
// of a table that was emptied.
func TestKeyIndexForgets(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, keys := t.Context(), newKeyStore(t)
		table := keyTable(t, typ, keys)
		knows := func(want ...string) {
			t.Helper()
			got, err := keys.Load([]string{"a", "b", "c"})
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("index has %q, %v, want %q", got, err, want)
			}
		}
		for _, rows := range [][]placeRow{{{"a", "eu", 0, 1}}, {{"b", "eu", 0, 1}, {"c", "us", 0, 1}}} {
			if _, err := table.Upsert(ctx, placeBatch(rows...)); err != nil {
				t.Fatal(err)
			}
		}
		knows("place=eu", "place=eu", "place=us")
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Partitions(ctx, []string{"c", "none", "a"}); err != nil || !slices.Equal(got, []string{"place=us", "", "place=eu"}) {
			t.Errorf("partitions %q, %v", got, err)
		}
		// a is gone, b moves, c is deleted where it is not.
		s := NewSorter(SortOptions{Schema: placeSchema, RecordKey: []string{"id"}, Buckets: 2, SortBytes: 1, TempDir: t.TempDir()})
		defer s.Close()
		moved := placeBatch(placeRow{"b", "ap", 0, 2})
		names, err := RecordKeys(moved, table.RecordKey())
		if err != nil {
			t.Fatal(err)
		}
		paths, err := table.PartitionPaths(moved)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Delete(ctx, "place=eu", []string{"a", "b", "c"}), s.Upsert(ctx, moved, names, paths), s.Write(ctx, x)); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Commit(ctx, nil); err != nil {
			t.Fatal(err)
		}
		knows("", "place=ap", "place=us")
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=ap b 2", "place=us c 1"})

		x, err = table.Begin(ctx, TxnOptions{Operation: InsertOverwriteTable})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Commit(ctx, nil); err != nil {
			t.Fatal(err)
		}
		knows("", "", "")
	})
}

// TestPartitionsNeedsAGlobalIndex asks where keys are that each partition may have.
func TestPartitionsNeedsAGlobalIndex(t *testing.T) {
	t.Parallel()
	table, err := Create(t.Context(), newStore(t), placeOptions(MergeOnRead))
	if err != nil {
		t.Fatal(err)
	}
	x, err := table.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Partitions(t.Context(), []string{"a"}); err == nil || !strings.Contains(err.Error(), "BUCKET") {
		t.Errorf("got %v", err)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}
