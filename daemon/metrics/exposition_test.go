package metrics

import (
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

// Whatever a label or a help text holds, and whatever the number, Prometheus reads what was meant.
func TestExpositionIsReadAsMeant(t *testing.T) {
	d := &desc{"btrkeep_odd", "With \\ and \"quotes\",\nin two lines.", gauge, []string{"a", "b"}}
	want := map[[2]string]float64{
		{"", ""}: 0, {`\`, `"`}: -1.5, {"\n", `\n`}: math.Inf(1), {"{x=\"1\"} 2\n# TYPE y counter", "ä 😀"}: 1e300, {"last", "z"}: 0.1,
	}
	var e exposition
	for labels, v := range want {
		e.add(d, v, labels[:]...)
	}
	e.add(d, 7, "broken\xff", "UTF-8")
	want[[2]string{"broken\uFFFD", "UTF-8"}] = 7
	family := parse(t, e.text())[d.name]
	if family.GetHelp() != d.help || family.GetType() != dto.MetricType_GAUGE {
		t.Errorf("%q, a %v", family.GetHelp(), family.GetType())
	}
	got := map[[2]string]float64{}
	for _, m := range family.GetMetric() {
		got[[2]string{m.GetLabel()[0].GetValue(), m.GetLabel()[1].GetValue()}] = m.GetGauge().GetValue()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What took as long as the limit of a bucket is in it, as le says.
func TestHistogram(t *testing.T) {
	d := &desc{"btrkeep_time_seconds", "Time.", histogram, []string{"x"}}
	var times durations
	for _, s := range []float64{0, 1, 1.01, 5, 86400, 86401, 1e9} {
		times.observe(s)
	}
	var e exposition
	e.put(d, series{labels: []string{"y"}, times: &times})
	h := parse(t, e.text())[d.name].GetMetric()[0].GetHistogram()
	got := map[float64]uint64{}
	for _, b := range h.GetBucket() {
		got[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	want := map[float64]uint64{1: 2, 5: 4, 15: 4, 60: 4, 300: 4, 900: 4, 3600: 4, 14400: 4, 43200: 4, 86400: 5, math.Inf(1): 7}
	if diff := cmp.Diff(want, got); diff != "" || h.GetSampleCount() != 7 || h.GetSampleSum() != 0+1+1.01+5+86400+86401+1e9 {
		t.Errorf("%d in all, %g; -want +got:\n%s", h.GetSampleCount(), h.GetSampleSum(), diff)
	}
}

// A scraper is told what it is given, may have it compressed, and cannot have too many at once.
func TestScrape(t *testing.T) {
	long := strings.Repeat("# a line\n", 1000)
	asked, answer := make(chan struct{}, 2*maxScrapes), make(chan struct{})
	s := httptest.NewServer(routes("1.2.3", func() []byte { asked <- struct{}{}; <-answer; return []byte(long) }))
	defer s.Close()
	get := func() *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8,*/*;q=0.1")
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Error(err)
			return httptest.NewRecorder().Result()
		}
		return resp
	}
	var scrapers sync.WaitGroup
	for range maxScrapes {
		scrapers.Go(func() {
			resp := get()
			defer resp.Body.Close()
			z, err := gzip.NewReader(resp.Body)
			if err != nil {
				t.Errorf("%v: %v", resp.Header, err)
				return
			}
			if b, err := io.ReadAll(z); err != nil || string(b) != long || resp.Header.Get("Content-Type") != contentType {
				t.Errorf("%d bytes, %v, %v", len(b), err, resp.Header)
			}
		})
	}
	for range maxScrapes {
		<-asked
	}
	resp := get()
	if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more at once: %s", resp.Status)
	}
	close(answer)
	scrapers.Wait()
}
