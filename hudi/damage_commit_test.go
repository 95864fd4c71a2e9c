package hudi

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"lakefeed/storage"
)

// readAnew reads a table's rows as who opens it does, in order.
func readAnew(ctx context.Context, store storage.Store) (rows []string, err error) {
	table, err := Open(ctx, store, Options{})
	if err != nil {
		return nil, err
	}
	for batch, err := range table.Read(ctx, ReadOptions{}) {
		if err != nil {
			return nil, err
		}
		text, err := batch.MarshalJSON()
		if err != nil {
			return nil, err
		}
		rows = append(rows, strings.Split(string(text), "\n")...)
	}
	slices.Sort(rows)
	return rows, nil
}

// TestFlippedProperties flips a bit of each byte of hoodie.properties: whoever reads the table gets its rows, or
// an error that names the file or what it does not know.
func TestFlippedProperties(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newStore(t)
	table, err := Create(ctx, store, placeOptions(MergeOnRead))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"b", "us", 0, 1})); err != nil {
		t.Fatal(err)
	}
	text, _, err := store.Get(ctx, propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAnew(ctx, store)
	if err != nil || len(want) < 2 {
		t.Fatal(want, err)
	}
	for at := range text {
		bad := slices.Clone(text)
		bad[at] ^= 1 << (at % 8)
		if err := store.Put(ctx, propertiesFile, bad); err != nil {
			t.Fatal(err)
		}
		got, err := readAnew(ctx, store)
		if isA[*CorruptError](err) || isA[*UnsupportedError](err) {
			continue
		}
		if err != nil || !slices.Equal(got, want) {
			line, _, _ := bytes.Cut(bad[bytes.LastIndexByte(bad[:at], '\n')+1:], []byte("\n"))
			t.Errorf("%q: %d rows, %v", line, len(got), err)
		}
	}
}

// TestOddCommit refuses a commit that is not what its name says, or contradicts itself.
func TestOddCommit(t *testing.T) {
	t.Parallel()
	other := func(old, new string) func(d []byte) []byte {
		return func(d []byte) []byte { return bytes.Replace(d, []byte(old), []byte(new), 1) }
	}
	var first []byte
	for name, change := range map[string]func(d []byte) []byte{
		"another's":                    func([]byte) []byte { return first },
		"another partition":            other(`"place=eu": [`, `"place=us": [`),
		"another partition of a file":  other(`"path": "place=eu`, `"path": "place=us`),
		"another partition's name":     other(`"partitionPath": "place=eu`, `"partitionPath": "place=us`),
		"another file group of a file": other(`"fileId": "0`, `"fileId": "1`),
	} {
		store := newStore(t)
		table, err := Create(t.Context(), store, placeOptions(CopyOnWrite))
		for seq := int64(1); seq < 3 && err == nil; seq++ {
			_, err = table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, seq}))
		}
		if err != nil {
			t.Fatal(err)
		}
		done := table.Timeline().Completed()
		if first, _, err = store.Get(t.Context(), table.instantFile(done[0])); err != nil {
			t.Fatal(err)
		}
		file := table.instantFile(done[1])
		before, _, err := store.Get(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(change(before), before) {
			t.Fatalf("%s: nothing is changed in %s", name, before)
		}
		damage(t, store, file, change)
		_, err = readAnew(t.Context(), store)
		if corrupt := new(CorruptError); !errors.As(err, &corrupt) || corrupt.File != file {
			t.Errorf("%s: %v", name, err)
		}
		if report, err := Check(t.Context(), store, CheckOptions{}); err == nil && report.Sound() {
			t.Errorf("%s: the table is sound", name)
		}
	}
}

// TestDamagedType names hoodie.properties where it says a type that there is not.
func TestDamagedType(t *testing.T) {
	t.Parallel()
	store, _ := damaged(t, MergeOnRead)
	setProperties(t, store, Properties{propType: "MERGE_ON_SEAD"})
	_, err := Open(t.Context(), store, Options{})
	if corrupt := new(CorruptError); !errors.As(err, &corrupt) || corrupt.File != propertiesFile {
		t.Errorf("open: %v", err)
	}
}
