package config

import (
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes; K M G T are powers of 1024.
type Size int64

const sizeHint = `write whole bytes or K, M, G, T (powers of 1024), such as "512", "50M" or "1G"`

const sizeUnits = "KMGT"

// UnmarshalText reads a size as the configuration writes it.
func (s *Size) UnmarshalText(text []byte) error {
	number, shift := string(text), 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte(sizeUnits, number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return refuse(sizeHint, "bad size %q", text)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return refuse(sizeHint, "size %q is too large", text)
	}
	*s = Size(n << shift)
	return nil
}

// String is the size as the configuration writes it, in the largest unit that loses nothing.
func (s Size) String() string {
	n, suffix := int64(s), ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n, suffix = n/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatInt(n, 10) + suffix
}
