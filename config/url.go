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
		return s, checkSSH("destination", s)
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

// cleanSource takes a source: an absolute path or ssh://.
func cleanSource(s string) (string, error) {
	scheme, ok := schemeOf(s)
	switch {
	case ok && scheme == "ssh":
		if err := checkSSH("source", s); err != nil {
			return "", err
		}
		return s, nil
	case ok:
		return "", refuse("write an absolute path or ssh://host/path", "source %q has an unknown scheme", s)
	case scpLike(s):
		return "", refuse("write ssh://host/path", "source %q looks like one of scp or rsync", s)
	}
	return cleanPath(s)
}

func isSSH(s string) bool { return strings.HasPrefix(s, "ssh://") }

// pathOf is the path in a url that was checked, or a path.
func pathOf(s string) string {
	if !isSSH(s) {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Path
}

// hostOf is what tells the machine of a url: user, host and port; "" is this one.
func hostOf(s string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(s, "ssh://"), "/")
	return host
}

// at tells a path on the machine of a url or path from those on others.
func at(url, dir string) string { return hostOf(url) + path.Clean(dir) }

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

func checkSSH(what, s string) error {
	const hint = "write ssh://host/path or ssh://user@host:port/path, special characters as %20"
	u, err := url.Parse(s)
	if err != nil {
		return refuse(hint, "bad ssh %s %q", what, s)
	}
	port, portErr := strconv.Atoi(u.Port())
	_, password := u.User.Password()
	switch {
	case u.Hostname() == "":
		return refuse(hint, "ssh %s %q names no host", what, s)
	case strings.HasPrefix(u.Hostname(), "-"), strings.HasPrefix(u.User.Username(), "-"):
		// ssh would take it for an option.
		return refuse(hint, "host and user of ssh %s %q cannot begin with a dash", what, s)
	case password:
		return refuse("use a key, and ssh's own configuration", "ssh %s %q contains a password", what, u.Redacted())
	case u.Port() != "" && (portErr != nil || port < 1 || port > 65535):
		return refuse(hint, "ssh %s %q has a bad port", what, s)
	case u.Path == "" || strings.Contains(u.Path, "\x00"):
		return refuse(hint, "ssh %s %q names no path", what, s)
	case path.Clean(u.Path) != u.Path:
		return refuse("write it without . and .., double slashes and a slash at the end", "the path of %s %q is not plain", what, s)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("in a path write ? as %3F and # as %23", "ssh %s %q has more than a path", what, s)
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

// sameURL is what two destinations share when they are the same directory. Of ssh, port 22 is that without one, and hosts have no upper case.
func sameURL(s string) string {
	if u, err := url.Parse(s); err == nil && u.Scheme == "ssh" {
		user := ""
		if u.User != nil {
			user = u.User.String() + "@"
		}
		host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), ":22"), ":")
		return "ssh://" + user + host + path.Clean("/"+u.Path)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && !strings.HasPrefix(s, "/") {
		return scheme + "://" + strings.TrimPrefix(path.Clean("/"+rest), "/")
	}
	return s
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
