package diff

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// command is one of a stream made by hand: its paths are in the order of the attributes.
type command struct {
	cmd   sendstream.Cmd
	paths []string
}

// streamOf makes a stream of differences.
func streamOf(t *testing.T, commands ...command) io.Reader {
	t.Helper()
	var b bytes.Buffer
	e, err := sendstream.NewEncoder(&b, 1)
	ok(t, err)
	ok(t, e.Encode(sendstream.CmdSnapshot, sendstream.Text(sendstream.AttrPath, "new"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{1}),
		sendstream.Uint(sendstream.AttrCtransid, 2), sendstream.UUID(sendstream.AttrCloneUUID, btrfs.UUID{2}), sendstream.Uint(sendstream.AttrCloneCtransid, 1)))
	for _, c := range append(commands, command{cmd: sendstream.CmdEnd}) {
		var values []sendstream.Value
		second := map[sendstream.Cmd]sendstream.Attr{sendstream.CmdRename: sendstream.AttrPathTo, sendstream.CmdLink: sendstream.AttrPathLink, sendstream.CmdSymlink: sendstream.AttrPathLink}
		for i, path := range c.paths {
			values = append(values, sendstream.Text([]sendstream.Attr{sendstream.AttrPath, second[c.cmd]}[i], path))
		}
		switch c.cmd {
		case sendstream.CmdMkfile, sendstream.CmdMkdir:
			values = append(values, sendstream.Uint(sendstream.AttrIno, 300))
		case sendstream.CmdTruncate:
			values = append(values, sendstream.Uint(sendstream.AttrSize, 7))
		}
		ok(t, e.Encode(c.cmd, values...))
	}
	return &b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// older is a tree with dir/file and other.
func older(t *testing.T) tree {
	t.Helper()
	path := t.TempDir()
	ok(t, os.Mkdir(filepath.Join(path, "dir"), 0o700))
	ok(t, os.WriteFile(filepath.Join(path, "dir", "file"), []byte("file"), 0o600))
	ok(t, os.WriteFile(filepath.Join(path, "other"), []byte("other"), 0o600))
	tr, err := openTree(path)
	ok(t, err)
	t.Cleanup(tr.close)
	return tr
}

// The detours of a stream leave no trace in what it comes to.
func TestDetours(t *testing.T) {
	before := older(t)
	result, err := read(streamOf(t,
		command{sendstream.CmdRename, []string{"dir", "o257-5-0"}},
		command{sendstream.CmdMkdir, []string{"o300-6-0"}},
		command{sendstream.CmdRename, []string{"o300-6-0", "dir"}},
		command{sendstream.CmdTruncate, []string{"o257-5-0/file"}},
		command{sendstream.CmdLink, []string{"dir/moved", "o257-5-0/file"}},
		command{sendstream.CmdUnlink, []string{"o257-5-0/file"}},
		command{sendstream.CmdRename, []string{"other", "o258-5-0"}},
		command{sendstream.CmdMkfile, []string{"came-and-went"}},
		command{sendstream.CmdUnlink, []string{"came-and-went"}},
		command{sendstream.CmdRename, []string{"o258-5-0", "other"}},
		command{sendstream.CmdRmdir, []string{"o257-5-0"}},
	), before, before)
	ok(t, err)
	want := []Change{ // a kernel would send metadata as well
		{Kind: Metadata, Path: "dir", From: "dir", Type: Directory, Replaced: true},
		{Kind: Renamed, Path: "dir/moved", From: "dir/file", Type: File, Content: true, Size: 7, OldSize: 4},
	}
	if diff := cmp.Diff(want, result.Changes, cmpopts.IgnoreFields(Change{}, "Metadata", "Implied")); diff != "" {
		t.Error(diff)
	}
}

// A stream that makes no sense for the tree is an error, whatever is wrong with it.
func TestSenselessStreams(t *testing.T) {
	for what, commands := range map[string][]command{
		"missing file":             {{sendstream.CmdUnlink, []string{"missing"}}},
		"missing directory":        {{sendstream.CmdUnlink, []string{"missing/file"}}},
		"below a file":             {{sendstream.CmdTruncate, []string{"other"}}, {sendstream.CmdMkfile, []string{"other/x"}}},
		"removed before":           {{sendstream.CmdUnlink, []string{"other"}}, {sendstream.CmdUnlink, []string{"other"}}},
		"moved away before":        {{sendstream.CmdRename, []string{"dir", "d"}}, {sendstream.CmdUnlink, []string{"dir/file"}}},
		"nothing in a new one":     {{sendstream.CmdMkdir, []string{"d"}}, {sendstream.CmdUnlink, []string{"d/file"}}},
		"into itself":              {{sendstream.CmdRename, []string{"dir", "dir/dir"}}},
		"deep into itself":         {{sendstream.CmdMkdir, []string{"dir/d"}}, {sendstream.CmdRename, []string{"dir", "dir/d/x"}}},
		"second name of directory": {{sendstream.CmdLink, []string{"d", "dir"}}},
		"left in a removed one":    {{sendstream.CmdTruncate, []string{"dir/file"}}, {sendstream.CmdRmdir, []string{"dir"}}},
	} {
		before := older(t)
		result, err := read(streamOf(t, commands...), before, before)
		if err == nil || len(result.Changes) > 0 {
			t.Errorf("%s: %v, %+v", what, err, result)
		}
	}
}

// A stream that is damaged, cut, or of a whole subvolume is refused as such.
func TestNoStreamOfDifferences(t *testing.T) {
	before := older(t)
	if _, err := read(strings.NewReader("btrfs-stream"), before, before); !errors.Is(err, sendstream.ErrCorrupt) {
		t.Errorf("cut: %v", err)
	}
	var b bytes.Buffer
	e, err := sendstream.NewEncoder(&b, 1)
	ok(t, err)
	ok(t, e.Encode(sendstream.CmdSubvol, sendstream.Text(sendstream.AttrPath, "new"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{1}), sendstream.Uint(sendstream.AttrCtransid, 2)))
	if _, err := read(&b, before, before); err == nil || !strings.Contains(err.Error(), "whole subvolume") {
		t.Errorf("whole: %v", err)
	}
}
