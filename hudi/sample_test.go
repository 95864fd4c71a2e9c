package hudi

import (
	"archive/zip"
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/mem"
)

// sampleFolder holds hudi-rs's sample tables, made by Spark. They are not part of the
// repository: a folder beside it has them.
const sampleFolder = "../../shared/golden/hudi-rs"

// samples are the archives in sampleFolder. A test is skipped where the folder above it is
// not there, and fails where that is there without them.
func samples(t *testing.T) []string {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(sampleFolder, "*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if len(archives) > 0 {
		return archives
	}
	where, err := filepath.Abs(sampleFolder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(where)); err == nil {
		t.Fatalf("no sample tables in %s", where)
	}
	t.Skipf("the sample tables of hudi-rs, which would lie in %s, are not there: they are not read", where)
	return nil
}

// sampleStore unpacks a sample.
func sampleStore(t *testing.T, archive string) storage.Store {
	t.Helper()
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files, root := map[string]*zip.File{}, ""
	for _, f := range z.File {
		if strings.HasPrefix(f.Name, "__MACOSX") || strings.HasSuffix(f.Name, "/") {
			continue
		}
		files[f.Name] = f
		if at, ok := strings.CutSuffix(f.Name, propertiesFile); ok && (root == "" || len(at) < len(root)) {
			root = at
		}
	}
	store := mem.New()
	for name, f := range files {
		name, ok := strings.CutPrefix(name, root)
		if !ok {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Put(t.Context(), path.Clean(name), data); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func sampleRows(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Buffer(nil, 1<<20); s.Scan(); {
		var row map[string]any
		dec := json.NewDecoder(strings.NewReader(s.Text()))
		dec.UseNumber()
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, canonical(t, row))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// TestSamples reads hudi-rs's sample tables and finds the rows that hudi-rs 0.5.0 found.
// Nothing is broken in them but that some were filled by plain inserts of keys twice.
func TestSamples(t *testing.T) {
	for _, archive := range samples(t) {
		name := strings.TrimSuffix(filepath.Base(archive), ".zip")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := sampleStore(t, archive)
			for _, f := range mustCheck(t, store, CheckOptions{}).Faults {
				if f.Severity == Broken && !strings.Contains(f.What, "comes twice") {
					t.Error(f)
				}
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows := tableRows(t, table, ReadOptions{Meta: !strings.Contains(name, "no_metafields")})
			diffLines(t, rows, sampleRows(t, strings.TrimSuffix(archive, ".zip")+".jsonl"))
		})
	}
}

// TestQuirks reads tables that Hudi 0.15's own row writer and services damaged: decimals were
// stored as 64-bit integers and multiplied. They are read, whatever their decimals are worth.
func TestQuirks(t *testing.T) {
	archives, err := filepath.Glob("testdata/quirks/*.tar.gz")
	if err != nil || len(archives) != 7 {
		t.Fatalf("%d damaged tables, %v", len(archives), err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			golden.UnpackFile(t, archive, dir)
			store, err := file.Open(filepath.Join(dir, name, "table"))
			if err != nil {
				t.Fatal(err)
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if rows := tableRows(t, table, ReadOptions{}); len(rows) != 310 {
				t.Errorf("%d rows, want 310", len(rows))
			}
		})
	}
}
