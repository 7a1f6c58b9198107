package api

import (
	"net/url"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// Path is a path or name. It may be any bytes, which JSON does not keep, and so goes over the line escaped as in a URL.
type Path string

// MarshalText escapes it.
func (p Path) MarshalText() ([]byte, error) { return []byte(url.PathEscape(string(p))), nil }

// UnmarshalText is its opposite.
func (p *Path) UnmarshalText(text []byte) error {
	s, err := url.PathUnescape(string(text))
	*p = Path(s)
	return err
}

// Owner is a jobs.Owner.
type Owner struct {
	Machine            string
	Path               Path
	Volume, FileSystem btrfs.UUID
}

// OwnerOf is what goes over the line.
func OwnerOf(o jobs.Owner) Owner { return Owner{o.Machine, Path(o.Path), o.Volume, o.FileSystem} }

// Owner is what came over it.
func (o Owner) Owner() jobs.Owner {
	return jobs.Owner{Machine: o.Machine, Path: string(o.Path), Volume: o.Volume, FileSystem: o.FileSystem}
}
