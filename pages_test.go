package lakefeed_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPagesNameTests sees that the tests that the pages of docs name are there.
func TestPagesNameTests(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	pages := map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		page := strings.HasPrefix(name, "docs") && strings.HasSuffix(name, ".md")
		if err != nil || d.IsDir() || !page && !strings.HasSuffix(name, "_test.go") {
			return err
		}
		data, err := os.ReadFile(name)
		if page {
			pages[name] = string(data)
		} else {
			tests.Write(data)
		}
		return err
	})
	if err != nil || len(pages) == 0 {
		t.Fatal(len(pages), "pages", err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)`).FindAllStringSubmatch(tests.String(), -1) {
		known[m[1]] = true
	}
	for page, text := range pages {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`").FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s names %s, and there is no such test", page, m[1])
			}
		}
	}
}
