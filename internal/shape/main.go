// Shape prints the shape of a Go tree without its tests: how long its functions and
// files are, and how many exported names are documented. `make shape` runs it.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// part is a stretch of source lines: a function or a file.
type part struct {
	name  string
	lines int
}

// tree gathers what shape prints.
type tree struct {
	functions, files     []part
	packages             map[string]bool // folder -> has a package comment
	exported, documented int
	undocumented         []string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shape:", err)
		os.Exit(1)
	}
}

func run(roots []string) error {
	if len(roots) == 0 {
		return errors.New("name the folders to look at")
	}
	for _, root := range roots {
		t := tree{packages: map[string]bool{}}
		if err := filepath.WalkDir(root, t.visit); err != nil {
			return err
		}
		t.print(root)
	}
	return nil
}

func (t *tree) visit(path string, d fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case d.IsDir() && (d.Name() == "testdata" || d.Name() == "vendor"):
		return filepath.SkipDir
	case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
		return nil
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(f) {
		return nil
	}
	lines := func(n ast.Node) int { return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1 }
	t.files = append(t.files, part{path, fset.File(f.Pos()).LineCount()})
	dir := filepath.Dir(path)
	t.packages[dir] = t.packages[dir] || f.Doc != nil
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			t.functions = append(t.functions, part{path + " " + d.Name.Name, lines(d)})
			if visible(d.Recv) {
				t.name(path, d.Name, d.Doc != nil)
			}
		case *ast.GenDecl:
			t.names(path, d)
		}
	}
	return nil
}

// visible tells whether a method's type is exported; a function has none.
func visible(receiver *ast.FieldList) bool {
	if receiver == nil {
		return true
	}
	typ := receiver.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	if g, ok := typ.(*ast.IndexExpr); ok {
		typ = g.X
	}
	n, ok := typ.(*ast.Ident)
	return ok && n.IsExported()
}

// names counts the exported types, constants and variables of a declaration.
func (t *tree) names(path string, d *ast.GenDecl) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			t.name(path, s.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil)
		case *ast.ValueSpec:
			for _, n := range s.Names {
				t.name(path, n, d.Doc != nil || s.Doc != nil || s.Comment != nil)
			}
		}
	}
}

func (t *tree) name(path string, n *ast.Ident, documented bool) {
	if !n.IsExported() {
		return
	}
	t.exported++
	if documented {
		t.documented++
	} else {
		t.undocumented = append(t.undocumented, path+" "+n.Name)
	}
}

func (t *tree) print(root string) {
	packageDocs := 0
	for _, ok := range t.packages {
		if ok {
			packageDocs++
		}
	}
	fmt.Printf("%s: %d packages, %d with a package comment\n", root, len(t.packages), packageDocs)
	fmt.Printf("functions  %s  (aim: 10, 45; under 1%% over 100)\n", summary(t.functions, 100))
	fmt.Printf("files      %s  (aim: 200, 450)\n", summary(t.files, 700))
	fmt.Printf("exported names documented: %d of %d  (aim: 95%%)\n", t.documented, t.exported)
	for _, n := range t.undocumented[:min(10, len(t.undocumented))] {
		fmt.Println("  without a comment:", n)
	}
}

// summary tells the median, the 90th percentile, the share over a limit and the
// three longest.
func summary(parts []part, limit int) string {
	if len(parts) == 0 {
		return "none"
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.lines, b.lines) })
	over := 0
	for _, p := range parts {
		if p.lines > limit {
			over++
		}
	}
	var longest []string
	for _, p := range parts[max(0, len(parts)-3):] {
		longest = append(longest, fmt.Sprintf("%s %d", p.name, p.lines))
	}
	return fmt.Sprintf("%d, median %d, p90 %d, %.1f%% over %d; longest: %s", len(parts), parts[len(parts)/2].lines,
		parts[len(parts)*9/10].lines, 100*float64(over)/float64(len(parts)), limit, strings.Join(longest, ", "))
}
