// Package logind speaks to systemd-logind.
package logind

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/login1"
)

// patience is how long logind has to answer. The bus starts it where it does not run, and some systems cannot.
const patience = 10 * time.Second

// KeepAwake keeps the machine from going to sleep until release is called, or the process ends: an inhibitor lock of sleep, org.freedesktop.login1(5). Somebody who insists still can.
// An error, as where there is no logind, is no reason not to do the work.
func KeepAwake(why string) (release func(), err error) {
	type answer struct {
		release func()
		err     error
	}
	given := make(chan answer, 1)
	go func() {
		release, err := inhibit(why)
		given <- answer{release, err}
	}()
	select {
	case a := <-given:
		if a.err != nil {
			return nil, fmt.Errorf("keep the machine awake: %w", a.err)
		}
		return a.release, nil
	case <-time.After(patience):
		go func() {
			if late := <-given; late.err == nil {
				late.release()
			}
		}()
		return nil, fmt.Errorf("keep the machine awake: logind: %w", os.ErrDeadlineExceeded)
	}
}

func inhibit(why string) (release func(), err error) {
	c, err := login1.New()
	if err != nil {
		return nil, err
	}
	lock, err := c.Inhibit("sleep", "btrkeep", why, "block")
	if err == nil && lock == nil {
		err = errors.New("logind gave no lock")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return func() {
		_ = lock.Close()
		c.Close()
	}, nil
}
