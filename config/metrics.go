package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// metrics is an address to listen at. Whoever can reach it can read what is there, so one that others can reach is named in a warning.
func (l *loader) metrics(target *string) func(node) {
	read := l.checked(target, func(s string) (string, error) {
		const hint = `write an address and a port, such as "127.0.0.1:9797" or ":9797"`
		host, port, err := net.SplitHostPort(s)
		if err != nil || strings.ContainsAny(host, " /") {
			return "", refuse(hint, "bad address %q", s)
		}
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return "", refuse(hint, "address %q has a bad port", s)
		}
		return s, nil
	})
	return func(n node) {
		read(n)
		if host, port, err := net.SplitHostPort(*target); err == nil && !loopback(host) {
			l.warn(n.valuePlace(), `the metrics at %q can be read by everybody who reaches that address, without password or encryption; "127.0.0.1:%s" is for this machine alone`, *target, port)
		}
	}
}

// loopback reports whether a host can be reached from this machine only. No host at all means all addresses. A name, other than localhost, may be that of anything.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
