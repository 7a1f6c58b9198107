package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) dumpCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dump FILE|-", Short: "list the commands of a send stream",
		Long: `List the commands of a send stream, as "btrfs send" and the kernel make it: for
each its number, the byte at which it begins, its name, its path and what else it
says. FILE "-" is standard input. Every checksum is checked. With --json there is
one object per line.

Exit status: 0 the stream is whole; 1 it is not; 2 usage.`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return &exitError{exitFailed, &jobs.HintError{Err: err, Hint: "`btrfs send -f FILE SNAPSHOT` makes such a file; - reads from a pipe"}}
				}
				defer f.Close()
				return a.dump(c.Context(), f)
			}
			if f, ok := c.InOrStdin().(*os.File); ok && isTerminal(f) {
				return &exitError{exitUsage, &jobs.HintError{
					Err:  errors.New("standard input is a terminal"),
					Hint: "pipe a stream into it (btrfs send SNAPSHOT | btrkeep dump -), or name a file",
				}}
			}
			return a.dump(c.Context(), c.InOrStdin())
		},
	}
	a.jsonFlag(c)
	return c
}

// dump lists a stream. A read of a pipe cannot be interrupted: it is left behind when ctx ends, as the program then does.
func (a *app) dump(ctx context.Context, in io.Reader) error {
	done := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(a.stdout)
		d := sendstream.NewDecoder(in)
		err := a.dumpTo(out, d)
		if err != nil {
			err = &jobs.HintError{Err: err, Hint: dumpHint(err, d.Count())}
		}
		done <- errors.Join(err, out.Flush())
	}()
	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-done:
	}
	if err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

func dumpHint(err error, commands int64) string {
	switch {
	case errors.Is(err, sendstream.ErrVersion):
		return fmt.Sprintf("protocols 1 to %d are known: make the stream with `btrfs send --proto 2`", sendstream.MaxVersion)
	case errors.Is(err, sendstream.ErrCorrupt) && commands == 0:
		return "if it is compressed or encrypted, undo that first: zstd -dc FILE | btrkeep dump -"
	case errors.Is(err, sendstream.ErrCorrupt):
		return "the commands before that are as they were sent; the stream was cut or damaged after them"
	}
	return ""
}

// dumpSummary is the last line.
type dumpSummary struct {
	Version  int   `json:"version"`
	Commands int64 `json:"commands"`
	Bytes    int64 `json:"bytes"`
	Data     int64 `json:"data_bytes"`
}

func (a *app) dumpTo(out io.Writer, d *sendstream.Decoder) error {
	version, err := d.Version()
	if err != nil {
		return err
	}
	sum := dumpSummary{Version: version}
	for {
		at := d.Offset()
		c, err := d.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		sum.Data += int64(len(c.Bytes(sendstream.AttrData)))
		if err := a.dumpLine(out, d.Count(), at, c); err != nil {
			return err
		}
	}
	sum.Commands, sum.Bytes = d.Count(), d.Offset()
	if a.json {
		return writeJSONLine(out, map[string]dumpSummary{"summary": sum})
	}
	_, err = fmt.Fprintf(out, "protocol %d, %d commands, %d bytes, %d of them data\n", sum.Version, sum.Commands, sum.Bytes, sum.Data)
	return err
}

func (a *app) dumpLine(out io.Writer, number, at int64, c *sendstream.Command) error {
	if a.json {
		return writeJSONLine(out, dumped(number, at, c))
	}
	name, rest, _ := strings.Cut(c.String(), " ")
	_, err := fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%8d %12d  %-14s %s", number, at, name, rest), " "))
	return err
}

// dumpedCommand is a command as JSON.
type dumpedCommand struct {
	Command    int64          `json:"command"` // counted from 1
	Offset     int64          `json:"offset"`  // of its first byte
	Name       string         `json:"name"`
	Attributes map[string]any `json:"attributes"`
}

func dumped(number, at int64, c *sendstream.Command) dumpedCommand {
	d := dumpedCommand{Command: number, Offset: at, Name: c.Cmd.String(), Attributes: map[string]any{}}
	for attr := range c.Attrs() {
		name := attr.String()
		switch v := c.Get(attr).(type) {
		case string:
			d.Attributes[name] = v
			if raw := rawName(v); raw != "" {
				d.Attributes[name+"_base64"] = raw
			}
		case []byte:
			if attr == sendstream.AttrData {
				d.Attributes["data_bytes"] = len(v)
			} else {
				d.Attributes[name+"_base64"] = base64.StdEncoding.EncodeToString(v)
			}
		case sendstream.Timespec:
			d.Attributes[name] = v.String()
		case btrfs.UUID:
			d.Attributes[name] = v.String()
		default:
			d.Attributes[name] = v
		}
	}
	return d
}

// rawName is a name that JSON cannot carry, in base64; "" for all others.
func rawName(name string) string {
	if utf8.ValidString(name) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(name))
}

func writeJSONLine(out io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(tameJSON(b.Bytes()))
	return err
}

// tameJSON escapes what a terminal might obey: encoding/json leaves DEL, the control characters above it, and those that turn the direction of text.
// Such characters can only be in strings.
func tameJSON(b []byte) []byte {
	tame := make([]byte, 0, len(b))
	for _, r := range string(b) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			tame = utf8.AppendRune(tame, r)
		case r > 0xffff:
			r -= 0x10000
			tame = fmt.Appendf(tame, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			tame = fmt.Appendf(tame, `\u%04x`, r)
		}
	}
	return tame
}
