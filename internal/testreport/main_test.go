package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, input, want string
		ok                bool
	}{
		{"passed", "passed.json", `go test ./...
ok    example/good  0.2 s
2 passed, 0 failed
`, true},
		{"failed", "failed.json", `failed: example/bad TestSub/case
    bad_test.go:9: wrong
failed: example/bad TestSub
=== RUN   TestSub
FAIL  example/bad  0.1 s
# example/broken
broken.go:3:1: syntax error
FAIL  example/broken  0.0 s
1 passed, 2 failed
`, false},
		{"skipped", "skipped.json", `skipped: example/disk TestDisk
    disk_test.go:5: a loop device needs root
ok    example/disk  0.1 s
1 skipped
1 passed, 0 failed
`, false},
		{"a crash after good tests", "crashed.json", `FAIL  example/crash  0.1 s
panic: out of luck
1 passed, 1 failed
`, false},
		{"nothing", "nothing.json", "0 passed, 0 failed\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := os.Open("testdata/" + c.input)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			var out strings.Builder
			ok, err := report(in, &out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if ok != c.ok {
				t.Errorf("ok: %v, want %v", ok, c.ok)
			}
		})
	}
}
