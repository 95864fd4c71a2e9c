package parity_test

import (
	"testing"

	"lakefeed/hudi"
	"lakefeed/storage/file"
)

func openTable(t *testing.T, path string) *hudi.Table {
	t.Helper()
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, hudi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// compact has Lakefeed compact a table and returns the instant, "" where there was nothing to do.
func compact(t *testing.T, path string) string {
	t.Helper()
	instant, err := openTable(t, path).Compact(t.Context(), hudi.CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return instant
}

// properties are a table's hoodie.properties.
func properties(t *testing.T, path string) hudi.Properties {
	t.Helper()
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := store.Get(t.Context(), ".hoodie/hoodie.properties")
	if err != nil {
		t.Fatal(err)
	}
	p, err := hudi.ParseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pending are the instants of a table that have not completed.
func pending(t *testing.T, path string) (instants []string) {
	t.Helper()
	for _, i := range openTable(t, path).Timeline().Pending() {
		instants = append(instants, i.String())
	}
	return instants
}
