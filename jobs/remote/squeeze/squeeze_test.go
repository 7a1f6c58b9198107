package squeeze

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// text comes down to about a third.
func text(n int) []byte {
	var b bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 2000)
	for i := range words {
		word := make([]byte, 3+random.IntN(8))
		for j := range word {
			word[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(word)
	}
	for b.Len() < n {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

// pieces gives data in reads of the given sizes, over and over.
type pieces struct {
	data  []byte
	sizes []int
	next  int
	err   error // at the end
	early bool  // together with the last data
}

func (r *pieces) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p[:min(len(p), r.sizes[r.next%len(r.sizes)])], r.data)
	r.next++
	r.data = r.data[n:]
	if r.early && len(r.data) == 0 {
		return n, r.err
	}
	return n, nil
}

// wire is the form on the wire, read in pieces of a size.
func wire(t interface{ Fatal(...any) }, r io.Reader, o Options, size int) []byte {
	var b bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{NewReader(r, o)}, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnyStreamComesOutTheSame(t *testing.T) {
	all := slices.Concat(text(3<<20), noise(3<<20), make([]byte, 3<<20))
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 5000), rapid.IntRange(1, 2<<20)), 1, 8).Draw(t, "pieces of the stream")
		var data []byte
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			from := rapid.IntRange(0, len(all)).Draw(t, "from")
			length := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 1<<20)).Draw(t, "length")
			data = append(data, all[from:min(len(all), from+length)]...)
		}
		if slices.Max(sizes) < 1000 {
			data = data[:min(len(data), 100_000)]
			sizes = append(sizes, 100)
		}
		r := &pieces{data: data, sizes: sizes, err: io.EOF, early: rapid.Bool().Draw(t, "end with the last data")}
		o := Options{Never: rapid.Bool().Draw(t, "never")}
		size := rapid.OneOf(rapid.IntRange(100, direct+10), rapid.IntRange(direct, 2<<20)).Draw(t, "pieces on the wire")
		form := wire(t, r, o, size)

		back := &pieces{data: form, sizes: rapid.SliceOfN(rapid.IntRange(1, 1<<20), 1, 8).Draw(t, "pieces at the other end"), err: io.EOF}
		var got bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, NewDecoder(back), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), data) {
			t.Fatalf("%d bytes became %d others", len(data), got.Len())
		}
		if most := len(data) + headerSize*(r.next+len(data)/maxBlock+2); len(form) > most {
			t.Errorf("%d bytes take %d on the wire, more than %d", len(data), len(form), most)
		}
	})
}

func TestACutIsNoEnd(t *testing.T) {
	form := wire(t, bytes.NewReader(slices.Concat(text(100_000), noise(2<<20), text(3<<20))), Options{}, 1<<20)
	if len(form) > 4<<20 {
		t.Errorf("nothing was compressed: %d bytes", len(form))
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, len(form)-1), rapid.IntRange(len(form)-20, len(form)-1)).Draw(t, "cut at")
		if _, err := io.Copy(io.Discard, NewDecoder(bytes.NewReader(form[:n]))); err != io.ErrUnexpectedEOF {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatIsBehindTheEndIsNotRead(t *testing.T) {
	behind := bytes.NewReader(append(wire(t, bytes.NewReader(text(100)), Options{}, 1000), "behind"...))
	if _, err := io.Copy(io.Discard, NewDecoder(behind)); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(behind); string(rest) != "behind" {
		t.Errorf("left %q", rest)
	}
}

func TestAnErrorOfTheStreamIsPassedOnWithoutAnEnd(t *testing.T) {
	gone := errors.New("gone")
	for _, o := range []Options{{}, {Never: true}} {
		for _, early := range []bool{false, true} {
			z := NewReader(&pieces{data: text(100_000), sizes: []int{7000}, err: gone, early: early}, o)
			form, err := io.ReadAll(z)
			if err != gone {
				t.Fatalf("the reader gives %v", err)
			}
			if _, err := z.Read(make([]byte, 1000)); err != gone {
				t.Errorf("and then %v", err)
			}
			got, err := io.ReadAll(NewDecoder(bytes.NewReader(form)))
			if err != io.ErrUnexpectedEOF || !bytes.Equal(got, text(100_000)) {
				t.Errorf("%d bytes came over, then %v", len(got), err)
			}
			if _, err := io.ReadAll(NewDecoder(io.MultiReader(bytes.NewReader(form), iotest.ErrReader(gone)))); err != gone {
				t.Errorf("the decoder gives %v", err)
			}
		}
	}
}

func TestAStreamThatGivesNothingEnds(t *testing.T) {
	for _, o := range []Options{{}, {Never: true}} {
		if _, err := io.ReadAll(NewReader(&pieces{data: text(10), sizes: []int{0}, err: io.EOF}, o)); err != io.ErrNoProgress {
			t.Errorf("got %v", err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	for name, data := range map[string][]byte{"text": text(8 << 20), "noise": noise(8 << 20)} {
		for _, never := range []bool{true, false} {
			b.Run(name+map[bool]string{true: "/raw", false: "/zstd"}[never], func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				p := make([]byte, 1<<20)
				for b.Loop() {
					z := NewReader(bytes.NewReader(data), Options{Never: never})
					if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	for name, o := range map[string]Options{"raw": {Never: true}, "zstd": {}} {
		b.Run(name, func(b *testing.B) {
			form := wire(b, bytes.NewReader(text(8<<20)), o, 1<<20)
			b.SetBytes(8 << 20)
			p := make([]byte, 1<<20)
			for b.Loop() {
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, NewDecoder(bytes.NewReader(form)), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
