package sendstream

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nastyNames are about names: what stands where, and what was there before.
var nastyNames = map[string]change{
	"orphanised directory": { // its name is taken by one that is processed before it
		func(s scene) { s.mkdir("a/sub", "b/sub"); s.file(3000, "a/f", "b/f", "b/sub/g") },
		func(s scene) { s.move("b", "c"); s.move("a", "b"); s.move("c", "a"); s.file(5000, "a/new", "b/new") },
		[]string{"rename b path_to=o…", "rename a path_to=b", "rename o… path_to=a", "rename o… path_to=b/new"},
	},
	"orphanised directory that is not empty and goes": {
		func(s scene) { s.mkdir("a/b/c", "x"); s.file(3000, "a/b/c/f", "a/b/g", "x/h") },
		func(s scene) { s.move("a/b/c", "x/c"); s.remove("a"); s.move("x", "a"); s.mkdir("x") },
		[]string{
			"rename a path_to=o…", "rename o…/b path_to=o…", "rmdir o…", "rename x path_to=a", "rename o…/c path_to=a/c", "unlink o…/g",
			"rmdir o…", "rename o… path_to=x",
		},
	},
	"orphanised file": {
		func(s scene) { s.mkdir("d"); s.file(3000, "a", "b", "d/c") },
		func(s scene) {
			s.move("d/c", "tmp")
			s.move("a", "d/c")
			s.move("b", "a")
			s.move("tmp", "b")
			s.link("b", "d/b")
		},
		[]string{"rename d/c path_to=o…", "link d/c path_link=a", "unlink a", "link a path_link=b", "rename o… path_to=b", "link d/b path_link=b"},
	},
	"path loop": { // each directory ends below one that was below it
		func(s scene) { s.mkdir("a/b/c/d"); s.file(3000, "a/f", "a/b/f", "a/b/c/f", "a/b/c/d/f") },
		func(s scene) {
			s.move("a/b/c/d", "d")
			s.move("a/b/c", "d/c")
			s.move("a/b", "d/c/b")
			s.move("a", "d/c/b/a")
			s.file(4000, "d/c/b/a/new")
		},
		[]string{
			"rename a/b/c/d path_to=d", "rename a/b/c path_to=d/c", "rename a/b path_to=d/c/b", "rename a path_to=d/c/b/a",
			"rename o… path_to=d/c/b/a/new",
		},
	},
	"path loop across two trees": {
		func(s scene) { s.mkdir("a/b", "c/d"); s.file(3000, "a/b/f", "c/d/f") },
		func(s scene) {
			s.move("a/b", "b")
			s.move("c/d", "d")
			s.move("c", "b/c")
			s.move("a", "d/a")
			s.move("d", "b/c/d")
		},
		[]string{"rename a/b path_to=b", "rename c path_to=b/c", "rename a path_to=b/c/d/a"},
	},
	"directory renamed onto a deleted one": {
		func(s scene) { s.mkdir("d/sub", "e/sub"); s.file(3000, "d/f", "d/sub/g", "e/f", "e/sub/h") },
		func(s scene) { s.remove("d"); s.move("e", "d"); s.file(3000, "d/sub/g") },
		[]string{"rename d path_to=o…", "rename o…/sub path_to=o…", "rename e path_to=d", "unlink o…/f", "rmdir o…", "rename o… path_to=d/sub/g"},
	},
	"directory renamed onto one whose files moved": {
		func(s scene) { s.mkdir("d", "e", "keep"); s.file(3000, "d/f", "d/g", "e/h") },
		func(s scene) { s.move("d/f", "keep/f"); s.move("d/g", "e/g"); s.move("e", "d") },
		[]string{"rename d path_to=o…", "rename e path_to=d", "link keep/f path_link=o…/f", "link d/g path_link=o…/g", "rmdir o…"},
	},
	"deleted parents": {
		func(s scene) {
			s.mkdir("p/q/r/s")
			s.file(3000, "p/1", "p/q/2", "p/q/r/3", "p/q/r/s/4")
			s.link("p/q/r/s/4", "p/5")
		},
		func(s scene) {
			s.move("p/q/r/s", "s")
			s.move("p/q/2", "s/2")
			s.remove("p")
			s.mkdir("p/q")
			s.link("s/4", "p/q/4")
		},
		[]string{
			"rename p path_to=o…", "rename o…/q path_to=o…", "rename o…/s path_to=s", "link s/2 path_link=o…/2", "rmdir o…",
			"link o…/4 path_link=o…/5", "rename o… path_to=p$", "rename o… path_to=p/q",
		},
	},
	"directory deleted and made again": {
		func(s scene) { s.mkdir("d/e"); s.file(3000, "d/f", "d/e/g") },
		func(s scene) { s.remove("d"); s.mkdir("d/e"); s.file(3001, "d/f", "d/e/g") },
		[]string{"rename d path_to=o…", "rename o…/e path_to=o…", "rmdir o…", "mkdir o…", "rename o… path_to=d$", "rename o… path_to=d/e$"},
	},
	"names in a cycle, 16 of them": {
		func(s scene) {
			for n := range 16 {
				s.mkdir(fmt.Sprintf("d%d", n))
				s.file(3000+n, fmt.Sprintf("d%d/f%d", n, n))
			}
		},
		func(s scene) {
			s.move("d0", "tmp")
			for n := range 15 {
				s.move(fmt.Sprintf("d%d", n+1), fmt.Sprintf("d%d", n))
			}
			s.move("tmp", "d15")
		},
		[]string{"rename d15 path_to=o…", "rename d0 path_to=d15", "rename d1 path_to=d0", "rename d14 path_to=d13", "rename o… path_to=d14"},
	},
	"names in a cycle on 16 levels": {
		func(s scene) {
			for n := 1; n <= 16; n++ {
				dir := nested("l", 1, n)
				s.mkdir(dir, dir+"/x", dir+"/y", dir+"/z")
				s.file(3000+n, dir+"/x/f", dir+"/y/f", dir+"/z/f")
			}
		},
		func(s scene) {
			for n := 16; n >= 1; n-- { // x, y, z change hands on each level, and parts of them with those of the level above
				dir := nested("l", 1, n)
				s.swap(dir+"/x", dir+"/y")
				s.swap(dir+"/y", dir+"/z")
				if n > 1 {
					s.swap(dir+"/x/f", nested("l", 1, n-1)+"/z")
				}
			}
		},
		[]string{
			"rename l1/z path_to=o…", "rename l1/x path_to=l1/z", "rename l1/y path_to=l1/x", "rename o… path_to=l1/l2/x/f",
			"rename l1/.*/l16/y/f path_to=o…", "rename o… path_to=l1/.*/l16/x/f",
		},
	},
	"16 levels upside down": {
		func(s scene) {
			s.mkdir(nested("l", 1, 16))
			s.file(3000, nested("l", 1, 16)+"/f", nested("l", 1, 8)+"/g")
		},
		func(s scene) {
			s.mkdir("top")
			for n := 16; n >= 2; n-- { // the lowest is moved to the top, the next below it, …
				s.move(nested("l", 1, n), filepath.Join("top", nested("l", 16, n)))
			}
			s.move("l1", filepath.Join("top", nested("l", 16, 1)))
		},
		[]string{
			"rename l1/.*/l15/l16 path_to=o…/l16", "rename l1/l2 path_to=o…/l16/.*/l2", "rename l1 path_to=o…/l16/.*/l2/l1",
			"rename o… path_to=top",
		},
	},
	"swapped names": {
		func(s scene) {
			s.mkdir("a/x", "b/y")
			s.file(3000, "a/f", "b/f", "a/x/g", "b/y/g", "h")
			s.text("l", "small")
		},
		func(s scene) {
			s.swap("a/f", "b/f")
			s.swap("a", "b")
			s.swap("a/y", "b/x")
			s.swap("h", "l")
			s.swap("h", "b/x")
		},
		[]string{
			"rename b path_to=o…", "rename a path_to=b", "rename o… path_to=a", "rename h path_to=o…", "rename o… path_to=h",
			"rename l path_to=o…", "rename o… path_to=l", "rename o… path_to=b/x",
		},
	},
	"file, directory and link in place of each other": {
		func(s scene) { s.mkdir("d/in"); s.file(3000, "f", "d/in/g"); ok(s.t, os.Symlink("f", s.at("l"))) },
		func(s scene) {
			s.remove("f", "d", "l")
			s.mkdir("f", "l/in")
			s.file(3000, "d", "l/in/g")
			ok(s.t, os.Symlink("..", s.at("f/l")))
		},
		[]string{
			"rename d path_to=o…", "rmdir o…", "unlink f", "unlink l", "mkdir o…", "rename o… path_to=f", "mkdir o…", "rename o… path_to=l",
			"mkfile o…", "rename o… path_to=d", `symlink o… .*path_link=\.\.$`, "rename o… path_to=f/l",
		},
	},
	"hard links in and out": {
		func(s scene) {
			s.mkdir("a", "b", "c")
			s.file(3000, "a/f", "b/g")
			s.link("a/f", "b/f")
			s.link("b/g", "c/g")
			s.link("b/g", "c/h")
		},
		func(s scene) {
			s.remove("a/f", "c")
			s.link("b/f", "a/f2")
			s.move("b", "c")
			s.link("c/g", "a/g")
			s.swap("a/f2", "c/g")
			s.link("a/f2", "g")
		},
		[]string{
			"rename c path_to=o…", "rename b path_to=c", "link c/g path_link=a/f", "link a/f2 path_link=g", "unlink o…/g", "unlink o…/h",
			"rmdir o…",
		},
	},
	"more hard links than fit, in a directory that goes": { // kept as extended references; Linux 6.18-rc3 repaired a second rmdir
		func(s scene) {
			s.mkdir("d", "e")
			s.file(3000, "f")
			for n := range 120 {
				s.link("f", fmt.Sprintf("%s/%s%d", []string{"d", "e"}[n%2], strings.Repeat("n", 200), n))
			}
		},
		func(s scene) { s.remove("d"); s.move("e", "d"); s.link("f", "d/last"); s.remove("f") },
		[]string{"rename d path_to=o…", "rename e path_to=d", "link d/last path_link=f", "unlink f", `unlink o…/n{200}\d+`, "rmdir o…"},
	},
	"long names, deep": {
		func(s scene) {
			deep := filepath.Join(strings.Repeat("a", 255), strings.Repeat("é", 127)+"x", strings.Repeat("c", 255))
			s.mkdir(deep)
			s.file(3000, deep+"/"+strings.Repeat("f", 255))
		},
		func(s scene) {
			s.move(strings.Repeat("a", 255), strings.Repeat("b", 255))
			s.mkdir(filepath.Join(strings.Repeat("b", 255), nested(strings.Repeat("d", 250), 1, 13)))
		},
		[]string{"rename a{255} path_to=b{255}", "mkdir o…", `rename o… path_to=b{255}(/d+\d+){13}$`},
	},
	"names as the kernel gives them for a time": {
		func(s scene) { s.mkdir("o257-7-0", "o258-8-0"); s.file(3000, "o259-9-0", "o257-7-0/o260-10-0") },
		func(s scene) {
			s.swap("o257-7-0", "o258-8-0")
			s.swap("o259-9-0", "o258-8-0")
			s.file(3000, "o261-11-0", "o257-7-0/o262-12-0")
		},
		[]string{
			"rename o259-9-0 path_to=o…", "rename o257-7-0 path_to=o259-9-0", "rename o258-8-0 path_to=o257-7-0", "rename o… path_to=o258-8-0",
			`(?:rename o261-\d+-0 path_to=|mkfile )o261-11-0`, // made under that name if its generation is 11
		},
	},
}
