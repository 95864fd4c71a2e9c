package lakefeed_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers lists the packages from the bottom up. A package may import only
// packages of a lower layer; unreachable names what it may not even reach through
// others. Run the test with -count=1: it asks the go command, and the test cache
// does not see that.
var layers = [][]string{
	{"change", "postgres/pgoutput", "storage", "web", "hudi/hfile", "hudi/schema"},
	{"storage/mem", "storage/file", "storage/s3", "storage/gcs", "storage/azure", "storage/storagetest", "postgres", "postgres/rdsiam", "dynamodb", "kafka", "hudi/basefile", "hudi/lock", "hudi/logfile", "hudi/timeline", "hudi/keyindex", "hudi/metadata"},
	{"storage/all", "hudi", "hudi/lock/dynamolock", "hudi/lock/locktest"},
	{"pipeline", "query"},
	{"config", "metrics"},
	{"server"},
	{"cmd/lakefeed"},
}

// free names folders that hold tests, tools and figures and, as internal/ does, may
// import anything.
var free = map[string]bool{"e2e": true, "parity": true, "bench": true, "docs": true}

// unreachable names, for each library, what must not be in its transitive imports.
var unreachable = map[string][]string{
	"hudi":     {"change", "postgres", "dynamodb", "kafka", "pipeline", "config", "metrics", "server", "storage/s3", "storage/gcs", "storage/azure"},
	"postgres": {"hudi", "storage", "pipeline", "config", "metrics", "server"},
	"dynamodb": {"hudi", "storage", "pipeline", "config", "metrics", "server"},
	"query":    {"change", "postgres", "dynamodb", "kafka", "pipeline", "config", "metrics", "server", "storage/s3", "storage/gcs", "storage/azure"},
	"pipeline": {"postgres", "dynamodb", "kafka", "config", "metrics", "server", "storage/s3", "storage/gcs", "storage/azure"},
}

func TestLayers(t *testing.T) {
	const mod = "lakefeed/"
	level := map[string]int{}
	for i, l := range layers {
		for _, p := range l {
			level[p] = i
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, mod)
		if !ok {
			continue // the root package: documentation only
		}
		own, ok := level[name]
		if !ok {
			if top, _, _ := strings.Cut(name, "/"); !strings.Contains(name, "internal/") && !free[top] {
				t.Errorf("%s stands in no layer: add it to layers", name)
			}
			continue
		}
		for _, imp := range p.Imports {
			if imp, ok := strings.CutPrefix(imp, mod); ok && level[imp] >= own {
				t.Errorf("%s (layer %d) imports %s (layer %d)", name, own, imp, level[imp])
			}
		}
		if name == "hudi" && slices.ContainsFunc(p.Deps, func(dep string) bool { return strings.HasPrefix(dep, "github.com/aws/") }) {
			t.Errorf("%s reaches an AWS client: those stand in leaf packages", name)
		}
		for _, bad := range unreachable[name] {
			for _, dep := range p.Deps {
				if dep == mod+bad {
					t.Errorf("%s reaches %s", name, bad)
				}
			}
		}
	}
}
