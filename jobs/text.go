package jobs

//go:generate go tool -modfile=../tools/go.mod easyjson -no_std_marshalers -pkg -output_filename text_gen.go .

import (
	"maps"
	"slices"

	"github.com/mailru/easyjson"
	"github.com/mailru/easyjson/jwriter"

	"github.com/btrkeep/btrkeep/config"
)

// What each run reads and writes is read and written by generated code, which says the same as encoding/json does: that one finds out anew, in every process, what the types are
// made of, and took a twelfth of a run that finds nothing changed.

// The maps of a [State]. Their text is sorted by key, so that equal states have equal texts.
type (
	tasksText        map[config.Task]TaskState
	destinationsText map[string]DestinationState
	proofsText       map[config.Task]Proof
	disksText        map[string]CommonState
)

func (m tasksText) MarshalEasyJSON(w *jwriter.Writer)        { writeSorted(w, m) }
func (m destinationsText) MarshalEasyJSON(w *jwriter.Writer) { writeSorted(w, m) }
func (m proofsText) MarshalEasyJSON(w *jwriter.Writer)       { writeSorted(w, m) }
func (m disksText) MarshalEasyJSON(w *jwriter.Writer)        { writeSorted(w, m) }

func writeSorted[K ~string, V easyjson.Marshaler](w *jwriter.Writer, m map[K]V) {
	if m == nil {
		w.RawString("null")
		return
	}
	w.RawByte('{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			w.RawByte(',')
		}
		w.String(string(k))
		w.RawByte(':')
		m[k].MarshalEasyJSON(w)
	}
	w.RawByte('}')
}
