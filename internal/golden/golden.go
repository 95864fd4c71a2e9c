// Package golden gives tests the tables that Spark wrote: archives under
// hudi/testdata/golden, each with table/ as written and expected/, the rows that the
// same Spark read back.
package golden

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const suffix = ".tar.gz"

// Folder is where the archives stand.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "hudi", "testdata", "golden")
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("find golden tables: no go.mod above the working folder")
		}
		dir = up
	}
}

// Names are the golden tables, in order, whose names begin with one of the prefixes;
// without prefixes all of them. None is a failure.
func Names(t testing.TB, prefixes ...string) []string {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(Folder(t), "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range archives {
		name := strings.TrimSuffix(filepath.Base(a), suffix)
		if len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("no golden tables %q", prefixes)
	}
	return names
}

// Unpack unpacks a golden table into a folder of the test and returns it: table/ is
// the table, expected/ what Spark read from it.
func Unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	UnpackFile(t, filepath.Join(Folder(t), name+suffix), dir)
	return filepath.Join(dir, name)
}

// UnpackFile unpacks an archive into a folder.
func UnpackFile(t testing.TB, archive, dir string) {
	t.Helper()
	for name, data := range read(t, archive) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Files are the names and contents of the files of a golden table, read out of its
// archive; names begin with the table's.
func Files(t testing.TB, name string) iter.Seq2[string, []byte] {
	t.Helper()
	return read(t, filepath.Join(Folder(t), name+suffix))
}

func read(t testing.TB, archive string) iter.Seq2[string, []byte] {
	t.Helper()
	return func(yield func(string, []byte) bool) {
		t.Helper()
		f, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("read %s: %v", archive, err)
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("read %s of %s: %v", h.Name, archive, err)
			}
			if !yield(h.Name, data) {
				return
			}
		}
	}
}

// Expected are the views of an unpacked table that Spark wrote down, as "snapshot" or
// "as_of_20261122020955354", each with its file.
func Expected(t testing.TB, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "expected", "*.jsonl.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("expected rows of %s: %q, %v", dir, files, err)
	}
	out := map[string]string{}
	for _, f := range files {
		out[strings.TrimSuffix(filepath.Base(f), ".jsonl.gz")] = f
	}
	return out
}

// Lines are the lines of a gzip-compressed text.
func Lines(file string) (lines []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", file, err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", file, err)
	}
	return lines, nil
}
