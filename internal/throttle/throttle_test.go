package throttle

import (
	"testing"
	"testing/synctest"
	"time"
)

// pass gives how long it takes to let bytes pass.
func pass(t *testing.T, th *Throttle, bytes int) time.Duration {
	start := time.Now()
	for bytes > 0 {
		n := min(bytes, th.Piece())
		if err := th.Wait(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		bytes -= n
	}
	return time.Since(start)
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := int64(0)
		th := New(func(time.Time) int64 { return limit })
		if took := pass(t, th, 100<<20); took != 0 {
			t.Errorf("without a limit 100 MiB take %s", took)
		}
		limit = 1 << 20
		time.Sleep(2 * time.Second)
		if took := pass(t, th, 61<<20); took < 59*time.Second || took > 62*time.Second {
			t.Errorf("61 MiB at 1 MiB/s take %s", took)
		}
		limit = 1000 // less than any piece
		time.Sleep(2 * time.Second)
		pass(t, th, 2<<20) // what was saved up
		if took := pass(t, th, 100_000); took < 90*time.Second || took > 110*time.Second {
			t.Errorf("100,000 bytes at 1,000 bytes/s take %s", took)
		}
	})
}

// A rate that ends, as by the time of day, lets what waits for it go on soon.
func TestRateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		th := New(func(now time.Time) int64 {
			if now.Sub(start) < time.Minute {
				return 1 << 20
			}
			return 0
		})
		if took := pass(t, th, 10<<30); took < time.Minute || took > 62*time.Second {
			t.Errorf("the rate ends after a minute, and 10 GiB take %s", took)
		}
	})
}
