package btrfs

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// On machines of 32 bits the structs that the kernel is given have the layout that TestLayout holds against its headers on this one.
func TestLayout32(t *testing.T) {
	want := layouts(t, "amd64")
	if len(want) < 10 {
		t.Fatalf("only %d structs were found", len(want))
	}
	for _, arch := range []string{"arm", "386"} {
		if diff := cmp.Diff(want, layouts(t, arch)); diff != "" {
			t.Errorf("amd64 (-) and %s (+):\n%s", arch, diff)
		}
	}
}

// layouts gives the size of each struct of layout.go and the offsets of its fields, as the compiler for arch lays them out.
func layouts(t *testing.T, arch string) map[string][]string {
	t.Helper()
	fset := token.NewFileSet()
	source, err := parser.ParseFile(fset, "layout.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := parser.ParseFile(fset, "rest.go", "package btrfs\ntype UUID [16]byte", 0)
	if err != nil {
		t.Fatal(err)
	}
	sizes := types.SizesFor("gc", arch)
	conf := types.Config{Sizes: sizes, Importer: importer.Default()}
	pkg, err := conf.Check("btrfs", fset, []*ast.File{source, rest}, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, name := range pkg.Scope().Names() {
		s, ok := pkg.Scope().Lookup(name).Type().Underlying().(*types.Struct)
		if !ok {
			continue
		}
		lines := []string{fmt.Sprintf("size %d", sizes.Sizeof(s))}
		fields := make([]*types.Var, 0, s.NumFields())
		for f := range s.Fields() {
			fields = append(fields, f)
		}
		for i, at := range sizes.Offsetsof(fields) {
			if fields[i].Name() != "_" {
				lines = append(lines, fmt.Sprintf("%s at %d", fields[i].Name(), at))
			}
		}
		found[name] = lines
	}
	return found
}
