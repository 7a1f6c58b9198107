package sendstream_test

import (
	"bytes"
	"fmt"
	"io"
	"log"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

func Example() {
	var stream bytes.Buffer
	e, err := sendstream.NewEncoder(&stream, 1)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range []struct {
		cmd    sendstream.Cmd
		values []sendstream.Value
	}{
		{sendstream.CmdSubvol, []sendstream.Value{
			sendstream.Text(sendstream.AttrPath, "home"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{1}), sendstream.Uint(sendstream.AttrCtransid, 7),
		}},
		{sendstream.CmdMkdir, []sendstream.Value{sendstream.Text(sendstream.AttrPath, "alice"), sendstream.Uint(sendstream.AttrIno, 257)}},
		{sendstream.CmdEnd, nil},
	} {
		if err := e.Encode(c.cmd, c.values...); err != nil {
			log.Fatal(err)
		}
	}

	d := sendstream.NewDecoder(&stream)
	for {
		c, err := d.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(c.Cmd, c.Path())
	}
	// Output:
	// subvol home
	// mkdir alice
	// end
}
