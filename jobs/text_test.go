package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mailru/easyjson"
	"github.com/mailru/easyjson/jlexer"
	"github.com/mailru/easyjson/jwriter"

	"github.com/btrkeep/btrkeep/btrfs"
)

// The generated code writes what encoding/json writes, reads it like that, and takes no part of it for the whole, which is what a power cut may leave.
func TestTexts(t *testing.T) {
	t.Run("State", func(t *testing.T) { testText[State](t) })
	t.Run("Record", func(t *testing.T) { testText[Record](t) })
	t.Run("Holder", func(t *testing.T) { testText[Holder](t) })
}

type text[T any] interface {
	*T
	MarshalEasyJSON(*jwriter.Writer)
	UnmarshalEasyJSON(*jlexer.Lexer)
}

func testText[T any, P text[T]](t *testing.T) {
	opts := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(State{}), cmpopts.IgnoreFields(Holder{}, "Session")}
	agree := func(v T) {
		t.Helper()
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := easyjson.Marshal(P(&v))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(got, &b) != nil {
			t.Errorf("not JSON: %s", got)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("-encoding/json +generated:\n%s", diff)
		}
		if again, err := easyjson.Marshal(P(&v)); err != nil || !bytes.Equal(got, again) {
			t.Errorf("another text each time: %s", again)
		}
		var std, gen T
		if err := json.Unmarshal(got, &std); err != nil {
			t.Fatal(err)
		}
		if err := easyjson.Unmarshal(got, P(&gen)); err != nil {
			t.Errorf("%v: %s", err, got)
		}
		if diff := cmp.Diff(std, gen, opts); diff != "" {
			t.Errorf("read by encoding/json - and by generated code +:\n%s", diff)
		}
		for n := 0; n < len(got); n += 1 + len(got)/1000 {
			var cut T
			if easyjson.Unmarshal(got[:n], P(&cut)) == nil {
				t.Fatalf("taken for the whole: %s", got[:n])
			}
		}
	}
	var zero, full T
	agree(zero)
	n := 0
	occupy(t, reflect.ValueOf(&full).Elem(), &n)
	agree(full)
}

// occupy gives every field a value of its own that is not zero, maps and slices several.
func occupy(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n)*1e8, int64(*n)).In(time.FixedZone("", 3600**n%7))))
		return
	case btrfs.UUID:
		v.Set(reflect.ValueOf(btrfs.UUID{byte(*n), 15: 0xff}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				occupy(t, v.Field(i), n)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			occupy(t, key, n)
			occupy(t, value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			occupy(t, v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("%d <&> \"\\\n\u2028é😀\xff\x00", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(*n) << 33)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*n))
	case reflect.Float64:
		v.SetFloat(1.0 / float64(*n))
	default:
		t.Fatalf("a %s", v.Type())
	}
}
