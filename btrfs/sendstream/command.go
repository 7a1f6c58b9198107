package sendstream

import (
	"encoding/binary"
	"iter"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Command is one command of a stream.
//
// What a command must have has been checked when it was decoded, sizes and paths included; so its values can be asked for
// without errors. An attribute that is not there gives the zero value.
type Command struct {
	Cmd     Cmd
	payload []byte
	have    attrSet
	at      [maxAttrV3 + 1]span // valid where have says so
}

// span is a part of a payload.
type span struct{ from, to uint32 }

// Timespec is a point in time as the stream has it: a negative Sec is before 1970, Nsec counts on from it.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// parse takes a whole command, header included, whose checksum is right.
func (c *Command) parse(version int, raw []byte) error {
	c.Cmd = Cmd(binary.LittleEndian.Uint16(raw[4:]))
	if c.Cmd == 0 || c.Cmd > maxCmd(version) {
		return corrupt("%s is unknown in protocol %d", c.Cmd, version)
	}
	c.payload, c.have = raw[commandHeaderSize:], 0
	for pos := 0; pos < len(c.payload); {
		n, err := c.parseAttr(version, pos)
		if err != nil {
			return err
		}
		pos += n
	}
	if missing := commands[c.Cmd].need &^ c.have; missing != 0 {
		return corrupt("%s is missing", missing.first())
	}
	return nil
}

// parseAttr takes the attribute at pos and gives its size there.
func (c *Command) parseAttr(version, pos int) (int, error) {
	rest := c.payload[pos:]
	if len(rest) < 2 {
		return 0, corrupt("it ends inside an attribute")
	}
	a := Attr(binary.LittleEndian.Uint16(rest))
	if a == 0 || a > maxAttr(version) {
		return 0, corrupt("%s is unknown in protocol %d", a, version)
	}
	// The last of two would count in btrfs receive; no kernel sends two.
	if c.have.has(a) {
		return 0, corrupt("%s is there twice", a)
	}
	from, to := 2, len(rest)
	if a != AttrData || version == 1 {
		if len(rest) < 4 {
			return 0, corrupt("it ends inside %s", a)
		}
		from, to = 4, 4+int(binary.LittleEndian.Uint16(rest[2:]))
		if to > len(rest) {
			return 0, corrupt("it ends inside %s", a)
		}
	}
	if size := attributes[a].size; size != anySize && to-from != size {
		return 0, corrupt("%s has %d bytes", a, to-from)
	}
	if err := checkAttr(c.Cmd, a, rest[from:to]); err != nil {
		return 0, err
	}
	c.have |= 1 << a
	c.at[a] = span{uint32(pos + from), uint32(pos + to)}
	return to, nil
}

// Has reports whether the command carries the attribute.
func (c *Command) Has(a Attr) bool { return c.have.has(a) }

// Bytes gives the value as it is in the stream: a part of the decoder's buffer, valid until the next command is read.
func (c *Command) Bytes(a Attr) []byte {
	if !c.have.has(a) {
		return nil
	}
	s := c.at[a]
	return c.payload[s.from:s.to:s.to]
}

// Text gives a path, name or link target.
func (c *Command) Text(a Attr) string { return string(c.Bytes(a)) }

// Path gives the command's path below the root of the subvolume; "" is that root itself.
func (c *Command) Path() string { return c.Text(AttrPath) }

// Uint gives the value of an attribute of 1, 4 or 8 bytes.
func (c *Command) Uint(a Attr) uint64 {
	switch b := c.Bytes(a); len(b) {
	case 1:
		return uint64(b[0])
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 8:
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// UUID gives the value of AttrUUID or AttrCloneUUID.
func (c *Command) UUID(a Attr) btrfs.UUID {
	var u btrfs.UUID
	copy(u[:], c.Bytes(a))
	return u
}

// Time gives the value of one of the four times.
func (c *Command) Time(a Attr) Timespec {
	b := c.Bytes(a)
	if len(b) != timespecSize {
		return Timespec{}
	}
	return Timespec{int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])}
}

// Attrs goes through the attributes in the order of their numbers, AttrData last as protocol 2 wants it.
func (c *Command) Attrs() iter.Seq2[Attr, []byte] {
	return func(yield func(Attr, []byte) bool) {
		for a := AttrUUID; a <= maxAttrV3; a++ {
			if a != AttrData && c.have.has(a) && !yield(a, c.Bytes(a)) {
				return
			}
		}
		if c.have.has(AttrData) {
			yield(AttrData, c.Bytes(AttrData))
		}
	}
}
