package content

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattr is XATTR_SIZE_MAX and XATTR_LIST_MAX.
const maxXattr = 64 << 10

// ownXattrs are properties of btrfs, such as compression. What is received inherits those of its directory, whether or not it had them.
const ownXattrs = "btrfs."

// carrier has the xattrs of one thing on both sides.
type carrier interface {
	list(side int, to []byte) (int, error)
	get(side int, name string, to []byte) (int, error)
}

// open is a carrier with open files.
type open [2]int

func (o open) list(side int, to []byte) (int, error) { return unix.Flistxattr(o[side], to) }
func (o open) get(side int, name string, to []byte) (int, error) {
	return unix.Fgetxattr(o[side], name, to)
}

// closed is a carrier that must not be opened, or cannot: a fifo, a device, a link. The calls that do not follow links know no directory descriptors, so the path goes through
// /proc.
type closed struct {
	dir  [2]int
	name string
}

func (c closed) path(side int) string { return fmt.Sprintf("/proc/self/fd/%d/%s", c.dir[side], c.name) }

func (c closed) list(side int, to []byte) (int, error) { return unix.Llistxattr(c.path(side), to) }
func (c closed) get(side int, name string, to []byte) (int, error) {
	return unix.Lgetxattr(c.path(side), name, to)
}

func (c *comparison) compareXattrs(d *dir, name string, on carrier) {
	var small [2][256]byte
	var found [2][]byte
	for side := range found {
		n, err := on.list(side, small[side][:])
		found[side] = small[side][:max(n, 0)]
		if err == unix.ERANGE {
			found[side] = make([]byte, maxXattr)
			n, err = on.list(side, found[side])
			found[side] = found[side][:max(n, 0)]
		}
		if err != nil && err != unix.EOPNOTSUPP {
			c.trouble(d, name, side, "listxattr", err)
			return
		}
	}
	if len(found[want])+len(found[have]) == 0 {
		return
	}
	var names [2][]string
	for side := range names {
		names[side] = xattrNames(found[side])
	}
	for _, x := range names[have] {
		if !slices.Contains(names[want], x) {
			c.differ(d, name, "xattr %q should not be there", x)
		}
	}
	for _, x := range names[want] {
		if !slices.Contains(names[have], x) {
			c.differ(d, name, "xattr %q is missing", x)
			continue
		}
		c.compareXattr(d, name, on, x)
	}
}

func (c *comparison) compareXattr(d *dir, name string, on carrier, x string) {
	var value [2][]byte
	for side := range value {
		value[side] = make([]byte, 1<<10)
		n, err := on.get(side, x, value[side])
		if err == unix.ERANGE {
			value[side] = make([]byte, maxXattr)
			n, err = on.get(side, x, value[side])
		}
		if err != nil {
			c.trouble(d, name, side, "getxattr "+x, err)
			return
		}
		value[side] = value[side][:n]
	}
	if !bytes.Equal(value[want], value[have]) {
		c.differ(d, name, "xattr %q differs", x)
	}
}

// xattrNames splits what listxattr(2) returns.
func xattrNames(list []byte) []string {
	names := strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 })
	return slices.DeleteFunc(names, func(x string) bool { return strings.HasPrefix(x, ownXattrs) })
}
