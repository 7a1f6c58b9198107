package btrfs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"pgregory.net/rapid"
)

func TestUUIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u btrfs.UUID
		copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		for _, s := range []string{u.String(), strings.ToUpper(u.String())} {
			parsed, err := btrfs.ParseUUID(s)
			if err != nil || parsed != u {
				t.Errorf("ParseUUID(%q) = %v, %v", s, parsed, err)
			}
		}
		text, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var decoded btrfs.UUID
		if err := json.Unmarshal(text, &decoded); err != nil || decoded != u {
			t.Errorf("%s decodes as %v, %v", text, decoded, err)
		}
	})
}

func TestUUIDString(t *testing.T) {
	u := btrfs.UUID{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10}
	if got, want := u.String(), "01234567-89ab-cdef-fedc-ba9876543210"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := (btrfs.UUID{}).String(); got != "" {
		t.Errorf("String() of none = %q", got)
	}
}

func TestParseUUIDRefuses(t *testing.T) {
	for _, s := range []string{
		" ", "-", "0123456789abcdeffedcba9876543210", "01234567-89ab-cdef-fedc-ba987654321", "01234567-89ab-cdef-fedc-ba98765432100",
		"01234567-89ab-cdef-fedc-ba987654321g", "0123456-789ab-cdef-fedc-ba9876543210", "{1234567-89ab-cdef-fedc-ba987654321}",
	} {
		if u, err := btrfs.ParseUUID(s); err == nil {
			t.Errorf("ParseUUID(%q) = %v", s, u)
		}
	}
}
