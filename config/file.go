package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is far more than any configuration needs; a larger file is something else.
const maxFile = 1 << 20

// file is one configuration file, parsed.
type file struct {
	name  string
	text  string
	md    toml.MetaData
	order map[string]int // where in the file each key, and each table that is only implied, comes first
	root  node
}

// parseFile reads the TOML of a file. A syntax error is an *Error; the library finds only the first.
func parseFile(name, text string) (*file, *Error) {
	f := &file{name: name, text: strings.TrimPrefix(text, "\ufeff")}
	if len(text) > maxFile {
		return nil, &Error{File: name, Msg: "file is larger than 1 MiB", Hint: "is this the configuration of btrkeep?"}
	}
	if i := invalidUTF8(f.text); i >= 0 {
		return nil, f.place(i).mistake("file is not UTF-8", "save it as UTF-8, without other encodings")
	}
	root := node{file: f}
	if err := f.decode(&root.prim); err != nil {
		return nil, err
	}
	f.order = map[string]int{}
	for i, path := range f.md.Keys() {
		for ; len(path) > 0; path = path[:len(path)-1] {
			key := path.String()
			if _, ok := f.order[key]; ok {
				break // and so are those that it is in
			}
			f.order[key] = i
		}
	}
	f.root = root.load()
	return f, nil
}

// decode runs the library, which panics on some input that it did not foresee.
func (f *file) decode(prim *toml.Primitive) (mistake *Error) {
	defer func() {
		if r := recover(); r != nil {
			mistake = f.place(0).mistake(fmt.Sprintf("the TOML cannot be read: %v", r), syntaxHint(""))
		}
	}()
	md, err := toml.Decode(f.text, prim)
	f.md = md
	var pe toml.ParseError
	switch {
	case errors.As(err, &pe):
		at := pe.Position.Start
		if strings.Contains(pe.Message, "control characters") {
			at++ // the library points at the character before
		}
		for at > 0 && at < len(f.text) && !utf8.RuneStart(f.text[at]) {
			at-- // from the end of the text the library goes back one byte, not one character
		}
		return f.place(at).mistake(plain(pe.Message), syntaxHint(pe.Message))
	case err != nil:
		return f.place(0).mistake(err.Error(), syntaxHint(""))
	}
	return nil
}

// plain is a message of the library in the style of the others.
func plain(message string) string {
	message = strings.TrimSuffix(printable(message), ".")
	for _, word := range []string{"Key", "Invalid", "Escaped"} {
		if strings.HasPrefix(message, word) {
			return strings.ToLower(word) + message[len(word):]
		}
	}
	return message
}

func syntaxHint(message string) string {
	switch {
	case strings.Contains(message, "expected value"):
		return `text, paths, times and durations need quotes: key = "…"`
	case strings.Contains(message, "already been defined"), strings.Contains(message, "already created"):
		return "each key and each [table] can be given only once"
	case strings.Contains(message, "cannot contain newlines"):
		return "close the quotes at the end of the text"
	case strings.Contains(message, "escape"):
		return `between "…" a backslash is written \\; between '…' everything is as written`
	case strings.Contains(message, "bare keys"), strings.Contains(message, "key separator"):
		return `a key that has other characters than letters, digits, _ and - needs quotes`
	default:
		return "the file is TOML: https://toml.io"
	}
}

func invalidUTF8(s string) int {
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && width == 1 {
			return i
		}
		i += width
	}
	return -1
}

// place is a position in a file. Without a file it is a name alone, such as that of an argument.
type place struct {
	file         string
	line, column int // column in characters, from 1
	text         string
}

func (p place) mistake(msg, hint string) *Error {
	return &Error{File: p.file, Line: p.line, Column: p.column, Text: p.text, Msg: msg, Hint: hint}
}

// upTo is the text before the position.
func (p place) upTo() string {
	runes := []rune(p.text)
	return string(runes[:min(max(p.column-1, 0), len(runes))])
}

func (p place) String() string { return p.mistake("", "").Position() }

// place gives the position of a byte.
func (f *file) place(offset int) place {
	offset = min(max(offset, 0), len(f.text))
	before := f.text[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	line := f.text[start:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	line = strings.TrimSuffix(line, "\r")
	return place{
		file:   f.name,
		line:   strings.Count(before, "\n") + 1,
		column: min(utf8.RuneCountInString(before[start:]), utf8.RuneCountInString(line)) + 1,
		text:   printable(line),
	}
}

// printable keeps what a broken file holds from acting on the terminal; the number of characters stays.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, line)
}
