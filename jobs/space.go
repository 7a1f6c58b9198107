package jobs

import (
	"time"
)

// SpaceSample is how much was free on a destination's disk at a time.
type SpaceSample struct {
	Time time.Time `json:"time"`
	Free uint64    `json:"free_bytes"`
}

const (
	// sampleEvery is how far samples are apart. Less than a day, so that a daily run with jitter leaves one each day.
	sampleEvery = 20 * time.Hour

	// maxSamples is how many are kept.
	maxSamples = 30

	// leastSpan is what samples must span before a rate is read from them.
	leastSpan = 3 * 24 * time.Hour
)

// sawSpace notes the space on the disk that is present. The samples of one disk say nothing of the next one at the same path.
func (s *DestinationState) sawSpace(id Identity, now time.Time) {
	if s.FileSystem != id.FileSystem {
		s.Space = nil
	}
	s.Free, s.Total = id.Free, id.Total
	if id.Total == 0 {
		return
	}
	if n := len(s.Space); n > 0 && now.Sub(s.Space[n-1].Time).Abs() < sampleEvery {
		return
	}
	s.Space = append(s.Space, SpaceSample{Time: now, Free: id.Free})
	if n := len(s.Space); n > maxSamples {
		s.Space = append([]SpaceSample(nil), s.Space[n-maxSamples:]...)
	}
}

// FullIn is how long it takes until the disk is full if it goes on as in the last weeks: by the line of least squares through the samples and what is free now. 0 if that is not
// known, or it does not fill up. Ten years at most: further ahead nobody can look.
func (s DestinationState) FullIn() time.Duration {
	n := len(s.Space)
	if n < 2 || s.Space[n-1].Time.Sub(s.Space[0].Time) < leastSpan {
		return 0
	}
	var sumT, sumF, sumTT, sumTF float64
	for _, p := range s.Space {
		t, f := p.Time.Sub(s.Space[0].Time).Seconds(), float64(p.Free)
		sumT, sumF, sumTT, sumTF = sumT+t, sumF+f, sumTT+t*t, sumTF+t*f
	}
	count := float64(n)
	slope := (count*sumTF - sumT*sumF) / (count*sumTT - sumT*sumT) // bytes per second
	if slope >= 0 {
		return 0
	}
	const most = 10 * 365 * 24 * time.Hour
	left := float64(s.Free) / -slope * float64(time.Second)
	if left > float64(most) {
		return most
	}
	return time.Duration(left)
}
