package docs

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	page1 = "docs/man/btrkeep.1.scd"
	page5 = "docs/man/btrkeep.toml.5.scd"
)

// Every key that the configuration takes is in btrkeep.toml(5). The keys are those of the maps of type fields in package config.
func TestManPageKeys(t *testing.T) {
	text := read(t, page5)
	keys := map[string]bool{}
	for _, file := range sources(t, "config") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "fields" {
					for _, e := range n.Elts {
						keys[unquote(e.(*ast.KeyValueExpr).Key)] = true
					}
				}
			case *ast.AssignStmt: // keys["defaults"] = …
				if index, ok := n.Lhs[0].(*ast.IndexExpr); ok {
					if name, ok := index.X.(*ast.Ident); ok && name.Name == "keys" {
						keys[unquote(index.Index)] = true
					}
				}
			}
			return true
		})
	}
	delete(keys, "")
	if len(keys) < 40 {
		t.Fatalf("only %d keys were found in package config: %v", len(keys), slices.Sorted(maps.Keys(keys)))
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !regexp.MustCompile(`(?m)^[^\t\n]*\*[[.]?` + key + `[].*]`).MatchString(text) {
			t.Errorf("%s lacks a key: add\n\n*%s* = _VALUE_\n\tWhat it means. Default: none.\n", page5, key)
		}
	}
}

// Every metric is in btrkeep(1). docs/metrics.md, which a test in daemon/metrics holds against the program, has them all.
func TestManPageMetrics(t *testing.T) {
	text := read(t, page1)
	all := regexp.MustCompile("(?m)^\\| `(btrkeep_\\w+)` \\|").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1)
	if len(all) < 30 {
		t.Fatalf("%d metrics only", len(all))
	}
	for _, m := range all {
		if !strings.Contains(text, "*"+m[1]+"*") {
			t.Errorf("%s lacks a metric: add\n\n*%s*\n\tWhat it tells.\n", page1, m[1])
		}
	}
}

// Every field of the journal, every MESSAGE_ID and every exit status is in btrkeep(1).
func TestManPageJournalAndStatuses(t *testing.T) {
	text := read(t, page1)
	fields, ids, statuses := 0, 0, 0
	lacks := func(what, term, add string) {
		if !strings.Contains(text, term) {
			t.Errorf("%s lacks %s: add\n\n%s\n", page1, what, add)
		}
	}
	for _, dir := range packages(t) {
		for name, value := range constants(t, dir) {
			switch {
			case strings.HasPrefix(name, "Key"):
				fields++
				field := strings.ToUpper(value)
				if field != "MESSAGE_ID" {
					field = "BTRKEEP_" + field
				}
				lacks("a field of the journal", "*"+field+"*", "*"+field+"*\n\tWhat it tells.")
			case regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(value):
				ids++
				lacks("a MESSAGE_ID", "*"+value+"*", "*"+value+"*: what "+name+" is")
			case strings.HasPrefix(name, "exit"):
				statuses++
				lacks("an exit status", "\n*"+value+"*\n\t", "*"+value+"*\n\tWhat "+name+" means.")
			}
		}
	}
	if fields < 8 || ids < 15 || statuses < 4 {
		t.Errorf("only %d fields, %d MESSAGE_IDs and %d exit statuses were found in the program", fields, ids, statuses)
	}
}

// Every variable of the environment that has the program's name is in btrkeep(1).
func TestManPageEnvironment(t *testing.T) {
	text := read(t, page1)
	variables := map[string]bool{}
	for _, dir := range packages(t) {
		for _, file := range sources(t, dir) {
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok {
					for _, name := range regexp.MustCompile(`\bBTRKEEP_[A-Z_]*[A-Z]\b`).FindAllString(lit.Value, -1) {
						variables[name] = true
					}
				}
				return true
			})
		}
	}
	if len(variables) < 5 {
		t.Fatalf("only %v were found", variables)
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !strings.Contains(text, "*"+name+"*") {
			t.Errorf("%s lacks a variable of the environment: add\n\n*%s*\n\tWhat it does.\n", page1, name)
		}
	}
}

// scdoc and groff have nothing to complain about.
func TestManPagesCompile(t *testing.T) {
	for _, program := range []string{"scdoc", "man"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Geteuid() == 0 {
				t.Fatalf("%v: `make test` installs it", err)
			}
			t.Skip(err)
		}
	}
	for _, page := range []string{page1, page5} {
		var roff, complaints bytes.Buffer
		scdoc := exec.Command("scdoc")
		scdoc.Stdin, scdoc.Stdout, scdoc.Stderr = strings.NewReader(read(t, page)), &roff, &complaints
		if err := scdoc.Run(); err != nil || complaints.Len() > 0 {
			t.Errorf("%s: scdoc: %v %s", page, err, complaints.String())
			continue
		}
		path := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(page), ".scd"))
		if err := os.WriteFile(path, roff.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		man := exec.Command("man", "--warnings", "--encoding=UTF-8", "--local-file", "--troff-device=utf8", "--ditroff", path)
		man.Env, man.Stderr = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80"), &complaints
		if err := man.Run(); err != nil || complaints.Len() > 0 {
			t.Errorf("%s: man: %v\n%s", page, err, complaints.String())
		}
	}
}

// packages are the directories with what people and the journal see of the program.
func packages(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, top := range []string{"cmd", "config", "daemon", "jobs"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, d fs.DirEntry, err error) error {
			if found, _ := filepath.Glob(filepath.Join(path, "*.go")); err == nil && d.IsDir() && len(found) > 0 {
				dirs = append(dirs, strings.TrimPrefix(filepath.ToSlash(path), "../../"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// sources are the files of a package, without tests.
func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if files == nil {
		t.Fatalf("no Go files in %s", dir)
	}
	return files
}

// constants are those of a package that are written as a literal, by name.
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, file := range sources(t, dir) {
		for _, decl := range file.Decls {
			if decl, ok := decl.(*ast.GenDecl); ok && decl.Tok == token.CONST {
				for _, spec := range decl.Specs {
					spec := spec.(*ast.ValueSpec)
					for i, value := range spec.Values {
						if lit, ok := value.(*ast.BasicLit); ok {
							found[spec.Names[i].Name] = unquote(lit)
						}
					}
				}
			}
		}
	}
	return found
}

// unquote is the value of a literal; "" of anything else.
func unquote(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	if s, err := strconv.Unquote(lit.Value); err == nil {
		return s
	}
	return lit.Value
}
