package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/child"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/wire"
)

// Authorization is a line for authorized_keys(5) of another machine: it lets this machine's key do what the jobs need, and nothing else.
type Authorization struct {
	Host string   `json:"host"` // as the configuration has it, with user and port
	Jobs []string `json:"jobs"`
	Line string   `json:"line"`
	Adds bool     `json:"adds"` // backups are kept there, and may be added, not deleted
}

// Authorize gives the lines for all machines that jobs name, in the order of their first one.
func (o Opener) Authorize(ctx context.Context, all []config.Job) ([]Authorization, error) {
	type need struct {
		target         wire.Target
		roots, sources []string
		jobs           []string
	}
	var hosts []string
	needs := map[string]*need{}
	of := func(address string, job config.Job) (*need, string, error) {
		l, path, err := o.line(address, job, config.Rate{})
		if err != nil {
			return nil, "", err
		}
		host := l.address
		if needs[host] == nil {
			hosts, needs[host] = append(hosts, host), &need{target: l.target}
		}
		n := needs[host]
		if !slices.Contains(n.jobs, job.Name) {
			n.jobs = append(n.jobs, job.Name)
		}
		return n, path, nil
	}
	for _, job := range all {
		if job.Remote() {
			n, path, err := of(job.Source, job)
			if err != nil {
				return nil, err
			}
			n.sources = append(n.sources, path)
		}
		for _, d := range job.Destinations {
			if d.Local() {
				continue
			}
			n, path, err := of(d.URL, job)
			if err != nil {
				return nil, err
			}
			n.roots = append(n.roots, path)
		}
	}
	var lines []Authorization
	for _, host := range hosts {
		n := needs[host]
		key, err := o.publicKey(ctx, n.target)
		if err != nil {
			return nil, err
		}
		lines = append(lines, Authorization{Host: host, Jobs: n.jobs, Line: authorizedLine(n.roots, n.sources, key), Adds: len(n.roots) > 0})
	}
	return lines, nil
}

// authorizedLine binds a key to what it needs. The command is for a shell, within double quotes; see authorized_keys(5).
func authorizedLine(roots, sources []string, key string) string {
	command := "btrkeep serve"
	for _, path := range roots {
		command += " --root " + shellQuote(path)
	}
	for _, path := range sources {
		command += " --source " + shellQuote(path)
	}
	if len(roots) > 0 {
		command += " --append-only"
	}
	return fmt.Sprintf(`restrict,command="%s" %s`, strings.ReplaceAll(command, `"`, `\"`), key)
}

// shellQuote is a word for a POSIX shell.
func shellQuote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%", r)
	}) < 0
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// publicKey is the one that ssh would offer first, of those in its files.
func (o Opener) publicKey(ctx context.Context, t wire.Target) (string, error) {
	var out bytes.Buffer
	if err := (child.Command{Argv: wire.Dialer{SSH: o.SSH}.Query(t), Stdout: &out}).Run(ctx); err != nil {
		return "", err
	}
	for line := range strings.Lines(out.String()) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "identityfile ")
		if !ok {
			continue
		}
		if below, ok := strings.CutPrefix(name, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", err
			}
			name = filepath.Join(home, below)
		}
		b, err := os.ReadFile(name + ".pub")
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return "", err
		}
		if key := strings.TrimSpace(string(b)); key != "" && !strings.Contains(key, "\n") {
			return key, nil
		}
	}
	return "", &jobs.HintError{Err: fmt.Errorf("%s: there is no key to connect with", t.Host), Hint: "make one, for the user that btrkeep runs as: ssh-keygen -t ed25519 -N ''"}
}
