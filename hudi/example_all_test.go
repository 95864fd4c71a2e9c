package hudi_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExamplesAreComplete sees that each call in the README's table of calls stands in an
// example that is run.
func TestExamplesAreComplete(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Which call does what")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| (.*\x60.*) \|$`).FindAllStringSubmatch(table, -1)
	if len(rows) < 15 {
		t.Fatalf("%d rows in the table of calls", len(rows))
	}
	examples := runExamples(t)
	for _, row := range rows {
		for _, call := range regexp.MustCompile("`(?:\\w+\\.)?([A-Z]\\w+)`").FindAllStringSubmatch(row[1], -1) {
			if !regexp.MustCompile(`\.` + call[1] + `\b|\b` + call[1] + `: `).MatchString(examples) {
				t.Errorf("no example has %s, of the row %q", call[1], row[0])
			}
		}
	}
}

// runExamples is the text of all examples that say what they print, without which go test
// only builds them.
func runExamples(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("example*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for example := range strings.SplitSeq(string(text), "\nfunc Example") {
			if body, _, ok := strings.Cut(example, "utput:"); ok {
				all.WriteString(body)
			}
		}
	}
	return all.String()
}
