package btrfs

import (
	"encoding/hex"
	"fmt"
)

// UUID is a subvolume's or file system's identity; the zero value means none.
type UUID [16]byte

// IsZero reports whether u means none.
func (u UUID) IsZero() bool { return u == UUID{} }

// String gives the 8-4-4-4-12 form in lower case, and "" for none.
func (u UUID) String() string {
	if u.IsZero() {
		return ""
	}
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
	return string(b[:])
}

// MarshalText gives what [UUID.String] gives.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what [ParseUUID] reads.
func (u *UUID) UnmarshalText(text []byte) (err error) {
	*u, err = parseUUID(text)
	return err
}

// ParseUUID reads the 8-4-4-4-12 form, upper or lower case; "" is none.
func ParseUUID(s string) (UUID, error) { return parseUUID(s) }

// parseUUID allocates nothing: catalogs are full of them.
func parseUUID[Text string | []byte](s Text) (u UUID, err error) {
	if len(s) == 0 {
		return UUID{}, nil
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, fmt.Errorf("%q is not a UUID", s)
	}
	var digits [32]byte
	n := 0
	for _, part := range []Text{s[0:8], s[9:13], s[14:18], s[19:23], s[24:36]} {
		n += copy(digits[n:], part)
	}
	if _, err := hex.Decode(u[:], digits[:]); err != nil {
		return UUID{}, fmt.Errorf("%q is not a UUID", s)
	}
	return u, nil
}
