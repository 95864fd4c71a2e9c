package hudi

import (
	"errors"
	"fmt"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// importsOf are the options of the imports that die, which take in rowsImported rows.
func importsOf(t *testing.T) map[string]ImportOptions {
	t.Helper()
	plain, parted := importOptions(CopyOnWrite), importOptions(MergeOnRead)
	plain.Buckets, plain.TempDir = 2, t.TempDir()
	parted.PartitionBy, parted.TempDir = []string{"place"}, t.TempDir()
	return map[string]ImportOptions{"plain": plain, "parted": parted}
}

const rowsImported = 50

func importOn(t *testing.T, store storage.Store, opts ImportOptions) error {
	t.Helper()
	_, err := Import(t.Context(), store, importFiles(t, "legacy.parquet", "today.parquet"), opts)
	return err
}

// TestImportDeath lets an import die at each of its calls: there is no table, one without
// rows, or the whole one. Where the process lives on, an import that fails leaves nothing that
// the next one minds, but where the store made the table and does not say so: it may be
// somebody else's, and stays.
func TestImportDeath(t *testing.T) {
	t.Parallel()
	for name, opts := range importsOf(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{})
			if err := importOn(t, counter, opts); err != nil {
				t.Fatal(err)
			}
			calls := counter.Calls()
			for n := range some(t, 6*len(calls), 11) { // each call, each way to fail at it, dead and alive
				at, dead := 1+n/6, n%2 == 0
				when := storagetest.When(n / 2 % 3)
				what := fmt.Sprintf("call %d, %v, fails as %d, dead %v", at, calls[at-1], when, dead)
				inner := newStore(t)
				store := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when, Dead: dead})
				err := importOn(t, store, opts)
				if err != nil && !errors.Is(err, storagetest.ErrFault) {
					t.Fatalf("%s: %v", what, err)
				}
				if made := calls[at-1].Name == propertiesFile && when == storagetest.After; err != nil && !dead && !made && !isEmpty(t, inner) {
					t.Fatalf("%s: the import failed, and its folder is not empty", what)
				}
				checkImported(t, what, inner, err == nil)
			}
		})
	}
}

// TestImportDiesAsItFails lets an import fail, and die as it takes away what it wrote.
func TestImportDiesAsItFails(t *testing.T) {
	t.Parallel()
	every := 5
	if soak() {
		every = 1
	}
	for name, opts := range importsOf(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, at := range commitCalls(t, opts) {
				for n := 1; ; n += every {
					inner := newStore(t)
					dying := storagetest.NewFaulty(inner, storagetest.Fault{At: at + n, When: storagetest.When(n % 3), Dead: true})
					err := importOn(t, storagetest.NewFaulty(dying, storagetest.Fault{At: at, When: storagetest.After}), opts)
					if !dying.Fired() {
						break
					}
					checkImported(t, fmt.Sprintf("call %d fails, the process dies %d calls later (%v)", at, n, dying.Calls()[at+n-1]), inner, err == nil)
				}
			}
		})
	}
}

// commitCalls are the calls of an import that make its files and its commit.
func commitCalls(t *testing.T, opts ImportOptions) (at []int) {
	t.Helper()
	counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{})
	if err := importOn(t, counter, opts); err != nil {
		t.Fatal(err)
	}
	for n, c := range counter.Calls() {
		if c.Op == "Commit" || c.Op == "PutIfAbsent" || c.Op == "PutIfMatch" {
			at = append(at, n+1)
		}
	}
	return at
}

// checkImported finds all rows or none, of a sound table.
func checkImported(t *testing.T, what string, store storage.Store, done bool) {
	t.Helper()
	table, err := Open(t.Context(), store, Options{Concurrency: Concurrency{Exclusive: true}})
	if errors.Is(err, ErrNoTable) && !done {
		return
	}
	if err == nil {
		err = table.Recover(t.Context())
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if got := len(imported(t, table)); got != rowsImported && (got != 0 || done) {
		t.Fatalf("%s: %d rows, want all or none", what, got)
	}
	for _, f := range mustCheck(t, store, CheckOptions{}).Faults {
		if f.Severity == Broken {
			t.Fatalf("%s: %v", what, f)
		}
	}
}

func isEmpty(t *testing.T, store storage.Store) bool {
	t.Helper()
	for info, err := range store.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != partitionFile {
			t.Logf("%s is left", info.Name)
			return false
		}
	}
	return true
}
