package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/internal/child"
	"github.com/btrkeep/btrkeep/jobs"
)

// sendmails are where sendmail(8) is, apart from the directories for root that are in everybody's search path.
var sendmails = []string{"sendmail", "/usr/lib/sendmail"}

// sendMail hands the message to the machine's sendmail(8), which may queue it.
func sendMail(ctx context.Context, e entry) error {
	text, err := compose(e)
	if err != nil {
		return err
	}
	for _, program := range sendmails {
		err = feed(ctx, []string{program, "-i", "-t"}, nil, text)
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return &jobs.HintError{Err: err, Hint: sendmailHint}
}

// compose writes the message as RFC 5322 wants it. Auto-Submitted (RFC 3834) keeps holiday notices away.
func compose(e entry) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "To: %s\nSubject: %s\nDate: %s\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n", e.To,
		mime.QEncoding.Encode("utf-8", "[btrkeep] "+oneLine(e.Message.Title())), e.Message.Time.Format(time.RFC1123Z))
	fmt.Fprint(&b, "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(e.Message.Text())); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")), nil // sendmail wants lines as they are here
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// sendCommand starts a program of the user's with the message as JSON on its standard input, and the most of it in its environment.
func sendCommand(ctx context.Context, e entry) error {
	body, err := json.Marshal(e.Message)
	if err != nil {
		return err
	}
	m := e.Message
	return feed(ctx, e.Argv, []string{
		"BTRKEEP_EVENT=" + m.Event, "BTRKEEP_JOB=" + m.Job, "BTRKEEP_HOST=" + m.Host, "BTRKEEP_TITLE=" + oneLine(m.Title()), "BTRKEEP_TEXT=" + m.Text(),
	}, body)
}

// feed runs a program with something on its standard input. That it reads none of it is no error.
func feed(ctx context.Context, argv, env []string, input []byte) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = io.Copy(out, bytes.NewReader(input))
		_ = out.Close()
	}()
	err = child.Command{Argv: argv, Env: env, Stdin: in}.Run(ctx)
	_ = in.Close() // ends the writer, if nobody reads
	<-written
	return err
}
