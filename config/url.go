package config

import (
	"net/url"
	"path"
	"strconv"
	"strings"
)

// cleanURL takes a destination: an absolute path, ssh:// or s3://.
func cleanURL(s string) (string, error) {
	scheme, ok := schemeOf(s)
	switch {
	case ok && scheme == "ssh":
		return s, checkSSH(s)
	case ok && scheme == "s3":
		return s, checkS3(s)
	case ok && scheme == "file":
		return "", refuse("write the path alone, beginning with /", "destination %q is a file url", s)
	case ok:
		return "", refuse("write an absolute path, ssh://host/path or s3://bucket/prefix", "destination %q has an unknown scheme", s)
	case scpLike(s):
		return "", refuse("write ssh://host/path", "destination %q looks like one of scp or rsync", s)
	default:
		return cleanPath(s)
	}
}

// schemeOf gives the scheme of a url, RFC 3986 section 3.1. A path is none, whatever it contains.
func schemeOf(s string) (scheme string, ok bool) {
	scheme, _, ok = strings.Cut(s, "://")
	if !ok || scheme == "" || !isLetter(scheme[0]) {
		return "", false
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isLetter(c) && !isDigit(c) && !strings.ContainsRune("+-.", rune(c)) {
			return "", false
		}
	}
	return scheme, true
}

// scpLike reports host:/path and user@host:path.
func scpLike(s string) bool {
	host, rest, ok := strings.Cut(s, ":")
	return ok && host != "" && !strings.Contains(host, "/") && (strings.Contains(host, "@") || strings.HasPrefix(rest, "/"))
}

func checkSSH(s string) error {
	const hint = "write ssh://host/path or ssh://user@host:port/path, special characters as %20"
	u, err := url.Parse(s)
	if err != nil {
		return refuse(hint, "bad ssh destination %q", s)
	}
	port, portErr := strconv.Atoi(u.Port())
	_, password := u.User.Password()
	switch {
	case u.Hostname() == "":
		return refuse(hint, "ssh destination %q names no host", s)
	case strings.HasPrefix(u.Hostname(), "-"), strings.HasPrefix(u.User.Username(), "-"):
		// ssh would take it for an option.
		return refuse(hint, "host and user of ssh destination %q cannot begin with a dash", s)
	case password:
		return refuse("use a key, and ssh's own configuration", "ssh destination %q contains a password", u.Redacted())
	case u.Port() != "" && (portErr != nil || port < 1 || port > 65535):
		return refuse(hint, "ssh destination %q has a bad port", s)
	case u.Path == "" || strings.Contains(u.Path, "\x00"):
		return refuse(hint, "ssh destination %q names no path", s)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("in a path write ? as %3F and # as %23", "ssh destination %q has more than a path", s)
	}
	return nil
}

func checkS3(s string) error {
	const hint = "write s3://bucket/prefix"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return refuse(hint, "bad s3 destination %q", s)
	case len(u.Host) < 3 || strings.Trim(u.Host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "":
		return refuse(hint+"; a bucket's name is of 3 or more characters a-z, 0-9, . and -", "s3 destination %q names no bucket", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse(hint, "s3 destination %q has more than a bucket and a prefix", s)
	}
	return nil
}

// sameURL is what two destinations share when they are the same directory.
func sameURL(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok && !strings.HasPrefix(s, "/") {
		return scheme + "://" + strings.TrimPrefix(path.Clean("/"+rest), "/")
	}
	return s
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
