package hudi

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
)

// TestTakeOver takes over the tables of version 6 that Spark wrote, by several indexes and key generators, with and without
// a metadata table, log files and partitions: the rows stay, and a writer of ours goes on.
func TestTakeOver(t *testing.T) {
	for _, name := range golden.Names(t, "v6_") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := file.Open(filepath.Join(golden.Unpack(t, name), "table"))
			if err != nil {
				t.Fatal(err)
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := tableRows(t, table, ReadOptions{})
			died := strings.Contains(name, "mor")
			takeOver(t, store, table.order, died)
			if table, err = Open(t.Context(), store, Options{Keys: newKeyStore(t)}); err != nil {
				t.Fatal(err)
			}
			diffLines(t, tableRows(t, table, ReadOptions{}), want)
			if done, err := table.FinishTakeOver(t.Context()); err != nil || done != died {
				t.Fatalf("finished %v, %v; want %v", done, err, died)
			}
			if table, err = Open(t.Context(), store, Options{Keys: newKeyStore(t)}); err != nil {
				t.Fatal(err)
			}
			if done, err := table.FinishTakeOver(t.Context()); err != nil || done {
				t.Fatalf("finished once more: %v, %v", done, err)
			}
			goOn(t, table)
			diffLines(t, tableRows(t, table, ReadOptions{}), want)
			for _, f := range mustCheck(t, store, CheckOptions{}).Faults {
				if f.Severity == Broken {
					t.Error(f)
				}
			}
		})
	}
}

// goOn writes the first rows of a table once more.
func goOn(t *testing.T, table *Table) {
	t.Helper()
	for rec, err := range table.Read(t.Context(), ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// takeOver takes a table over; died: hoodie.properties is as before, as where the process died behind the commit.
func takeOver(t *testing.T, store storage.Store, order string, died bool) {
	t.Helper()
	o := Options{Buckets: 3, Keys: newKeyStore(t)}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if table.partition.depth() > 0 {
		o.Index = IndexGlobalKey
	}
	if table, err = Open(t.Context(), store, o); err != nil {
		t.Fatal(err)
	}
	txn, err := table.Begin(t.Context(), TxnOptions{Operation: InsertOverwriteTable, TakeOver: &TakeOver{OrderingField: order}})
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := store.Get(t.Context(), propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	sorter := NewSorter(SortOptions{Schema: txn.Schema(), RecordKey: table.RecordKey(), Buckets: 3})
	defer sorter.Close()
	for rec, err := range table.Read(t.Context(), ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		rows, err := table.keyed(rec)
		if err != nil {
			t.Fatal(err)
		}
		err = sorter.Upsert(t.Context(), rec, rows.keys, rows.partitions)
		rows.release()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := sorter.Write(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !died {
		return
	}
	if err := store.Put(t.Context(), propertiesFile, before); err != nil {
		t.Fatal(err)
	}
}

// TestTakeOverStays takes nothing back behind a take-over, where rows would count by another rule than
// they were written for, but what came after it.
func TestTakeOverStays(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), memStore(t, goldenFiles(t, "v6_120_mor_none_nomdt"))
	before := openWith(t, store, Options{})
	commits := before.Timeline().Completed()
	want := tableRows(t, before, ReadOptions{})
	takeOver(t, store, before.order, false)
	table := openWith(t, store, Options{})
	over, _ := table.Timeline().Last()
	wantRefused := func(what string, err error) {
		t.Helper()
		if !errors.As(err, new(*OptionError)) || !strings.Contains(err.Error(), over.Time+" took the table over") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := table.Rollback(ctx, "")
	wantRefused("rollback", err)
	goOn(t, table)
	_, err = table.Restore(ctx, commits[len(commits)-1].Time)
	wantRefused("restore", err)
	if res, err := table.Restore(ctx, over.Time); err != nil || len(res.TakenBack) == 0 {
		t.Errorf("restore to the take-over: %v, %v", res, err)
	}
	diffLines(t, tableRows(t, openWith(t, store, Options{}), ReadOptions{}), want)
}

// TestTakeOverRefused names what stands in the way, and leaves the table as it is.
func TestTakeOverRefused(t *testing.T) {
	store, err := file.Open(filepath.Join(golden.Unpack(t, "v6_0150_mor_hive_nomdt"), "table"))
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := store.Get(t.Context(), propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	props, err := ParseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		propKeyGenerator: "org.apache.hudi.keygen.TimestampBasedKeyGenerator", propCDC: "true", propMetafileFormat: "true", propRecordKey: "",
	} {
		changed := props.with(Properties{key: value})
		if err := store.Put(t.Context(), propertiesFile, changed.Format(time.Now())); err != nil {
			t.Fatal(err)
		}
		table, err := Open(t.Context(), store, Options{Buckets: 1, Index: IndexGlobalKey, Keys: newKeyStore(t)})
		if err != nil {
			t.Fatal(err)
		}
		if err := table.CheckTakeOver(TakeOver{OrderingField: table.order}); !errors.As(err, new(*UnsupportedError)) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
		if _, err := table.Begin(t.Context(), TxnOptions{Operation: InsertOverwriteTable, TakeOver: &TakeOver{OrderingField: table.order}}); !errors.As(err, new(*UnsupportedError)) {
			t.Errorf("%s=%s: begin: %v", key, value, err)
		}
	}
	if err := store.Put(t.Context(), propertiesFile, text); err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store, Options{Buckets: 1, Index: IndexGlobalKey, Keys: newKeyStore(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []TxnOptions{
		{Operation: InsertOverwriteTable, TakeOver: &TakeOver{}}, {TakeOver: &TakeOver{OrderingField: table.order}},
	} {
		if _, err := table.Begin(t.Context(), o); err == nil {
			t.Errorf("begun with %+v", o)
		}
	}
	if table, err = Open(t.Context(), store, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Begin(t.Context(), TxnOptions{Operation: InsertOverwriteTable, TakeOver: &TakeOver{OrderingField: table.order}}); err == nil {
		t.Error("begun without a number of buckets")
	}
}
