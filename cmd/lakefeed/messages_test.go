package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMessages: docs/operations.md tells of everything that `run` may log.
func TestMessages(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	logged := regexp.MustCompile(`\b[lL]og(?:ger)?\.(?:Info|Warn|Error)\("([^"]+)"`)
	seen := 0
	for _, glob := range []string{"../../pipeline/*.go", "../../postgres/*.go", "../../server/*.go", "run.go", "service.go", "member.go", "progress.go"} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", glob, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "validate.go") {
				continue
			}
			for _, m := range logged.FindAllStringSubmatch(string(text), -1) {
				if seen++; !strings.Contains(string(doc), m[1]) {
					t.Errorf("%s logs %q, and docs/operations.md does not say what it means", name, m[1])
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("found only %d messages", seen)
	}
}
