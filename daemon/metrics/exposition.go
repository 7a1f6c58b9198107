package metrics

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// contentType is that of Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/.
//
// It is written here, and not by prometheus/client_golang: what that library and those that it needs do when a program starts took a fifth of the CPU time of every command, and few commands have
// to do with metrics. The tests read what is written with its parser and its linter.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// kind is what a metric counts as.
type kind string

const (
	gauge     kind = "gauge"
	counter   kind = "counter"
	histogram kind = "histogram"
)

// desc is what is told under one name.
type desc struct {
	name, help string
	kind       kind
	labels     []string // names, in alphabetical order
}

// exposition is what is told at one moment. The zero value is empty.
type exposition struct {
	families map[*desc][]series
}

// series is the values of the labels, and what there is of that.
type series struct {
	labels []string
	value  float64
	times  *durations // of a histogram, instead of the value
}

// add tells a value. The labels are those of the desc, in its order, and each set of them is told once.
func (e *exposition) add(d *desc, value float64, labels ...string) {
	e.put(d, series{labels: labels, value: value})
}

func (e *exposition) put(d *desc, s series) {
	if e.families == nil {
		e.families = map[*desc][]series{}
	}
	e.families[d] = append(e.families[d], s)
}

// text is all of it, sorted by name and labels.
func (e *exposition) text() []byte {
	w := &bytes.Buffer{}
	for _, d := range slices.SortedFunc(maps.Keys(e.families), func(a, b *desc) int { return cmp.Compare(a.name, b.name) }) {
		w.WriteString("# HELP " + d.name + " " + helpEscaper.Replace(d.help) + "\n# TYPE " + d.name + " " + string(d.kind) + "\n")
		list := e.families[d]
		slices.SortFunc(list, func(a, b series) int { return slices.Compare(a.labels, b.labels) })
		for _, s := range list {
			s.write(w, d)
		}
	}
	return w.Bytes()
}

func (s series) write(w *bytes.Buffer, d *desc) {
	if s.times == nil {
		writeSample(w, d.name, labelText(d.labels, s.labels), s.value)
		return
	}
	names := append(slices.Clone(d.labels), "le")
	count := uint64(0)
	for i, n := range s.times.counts {
		count += n
		limit := math.Inf(1)
		if i < len(durationBuckets) {
			limit = durationBuckets[i]
		}
		writeSample(w, d.name+"_bucket", labelText(names, append(slices.Clone(s.labels), number(limit))), float64(count))
	}
	writeSample(w, d.name+"_sum", labelText(d.labels, s.labels), s.times.sum)
	writeSample(w, d.name+"_count", labelText(d.labels, s.labels), float64(count))
}

func writeSample(w *bytes.Buffer, name, labels string, value float64) {
	w.WriteString(name + labels + " " + number(value) + "\n")
}

// Escapes of the format: a label's value is in quotes, a help text is not.
var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func labelText(names, values []string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	for i, name := range names {
		b.WriteString([...]string{"{", ","}[min(i, 1)])
		b.WriteString(name + `="` + labelEscaper.Replace(strings.ToValidUTF8(values[i], "\uFFFD")) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

// number is a float64 as the format has it, which is Go's way but for +Inf.
func number(f float64) string {
	if math.IsInf(f, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// durationBuckets are the upper limits of the buckets of [durations], in seconds.
var durationBuckets = [...]float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}

// durations is a histogram of how long things took.
type durations struct {
	counts [len(durationBuckets) + 1]uint64 // by bucket, the last without a limit; not those of smaller buckets
	sum    float64                          // seconds
}

func (d *durations) observe(seconds float64) {
	i, _ := slices.BinarySearch(durationBuckets[:], seconds)
	d.counts[i]++
	d.sum += seconds
}
