package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// jobsBelow gives those of the jobs that have a destination of this machine in dir or below it, by its name or by what that leads to. That there is none is an error: without a
// name, a run would be one of all jobs.
func jobsBelow(list []config.Job, dir string) ([]config.Job, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	found := slices.DeleteFunc(slices.Clone(list), func(j config.Job) bool {
		return !slices.ContainsFunc(j.Destinations, func(d config.Destination) bool {
			return d.Local() && (isBelow(d.URL, path) || isBelow(realPath(d.URL), realPath(path)))
		})
	})
	if len(found) == 0 {
		return nil, &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("no job has a destination below %s", path), Hint: "`btrkeep list` shows the destinations of all jobs"}}
	}
	return found, nil
}

func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// realPath resolves symbolic links, as far as the path exists: a destination is made by its first run.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(realPath(parent), filepath.Base(path))
	}
	return path
}
