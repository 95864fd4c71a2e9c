package timeline

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPlansPage holds docs/format/plans.md to the schemas: each record has a part of the
// page, whose table has its fields.
func TestPlansPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/format/plans.md")
	if err != nil {
		t.Fatal(err)
	}
	page := map[string][]string{}
	name := ""
	for line := range strings.Lines(string(text)) {
		if h, ok := strings.CutPrefix(line, "### "); ok {
			name = strings.TrimSpace(h)
			page[name] = nil
		}
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.HasPrefix(line, "| `") {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				page[name] = append(page[name], m[1])
			}
		}
	}
	schemas := recordFields(t)
	delete(schemas, "HoodieCompactionMetadata") // which nobody writes
	delete(schemas, "HoodieCompactionWriteStat")
	for _, record := range slices.Sorted(maps.Keys(schemas)) {
		if got, want := slices.Sorted(slices.Values(page[record])), slices.Sorted(slices.Values(schemas[record])); !slices.Equal(got, want) {
			t.Errorf("%s: the page has %v, the schema %v", record, got, want)
		}
	}
	for record := range page {
		if schemas[record] == nil {
			t.Errorf("the page has %s, and no schema", record)
		}
	}
}

// recordFields are the fields of all records in avsc, by the records' names.
func recordFields(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("avsc/*.avsc")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no schemas")
	}
	out := map[string][]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var schema any
		if err := json.Unmarshal(data, &schema); err != nil {
			t.Fatal(file, err)
		}
		addRecords(out, schema)
	}
	return out
}

func addRecords(out map[string][]string, node any) {
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			addRecords(out, n)
		}
	case map[string]any:
		if fields, ok := node["fields"].([]any); ok {
			var names []string
			for _, f := range fields {
				names = append(names, f.(map[string]any)["name"].(string))
			}
			name := node["name"].(string)
			if len(names) > len(out[name]) { // Hudi's schemas have one of several releases
				out[name] = names
			}
		}
		for _, n := range node {
			addRecords(out, n)
		}
	}
}
