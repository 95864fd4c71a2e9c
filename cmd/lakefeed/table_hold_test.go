package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLakesOf finds the lakes of tables by the folders that their pipeline gave them.
func TestLakesOf(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(dir, "lake", "public", "t")
	if err := os.MkdirAll(table, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(table, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "lake"), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	lake := filepath.Join(dir, "lake")
	for at, want := range map[string][]string{
		table:                                {lake},
		table + "/":                          {lake},
		"file://" + table:                    {lake},
		filepath.Join(dir, "link"):           {lake},
		filepath.Join(dir, "other/public/t"): {filepath.Join(dir, "other"), lake},
		dir:                                  nil, // moved
		"s3://bucket/lake/public/t":          {"s3://bucket/lake"},
		"s3://bucket/lake/public/t/?region=eu-west-1": {"s3://bucket/lake?region=eu-west-1"},
		"s3://bucket/public/t":                        {"s3://bucket"},
		"s3://bucket/lake/public/other":               nil,
		"s3://bucket/lake/notpublic/t":                nil,
	} {
		if got := lakesOf(at, "public/t"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
	}
}
