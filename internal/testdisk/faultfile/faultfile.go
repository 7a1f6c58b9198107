// Package faultfile serves a file through FUSE that fails, hangs, lies or loses
// power on command. Beneath a loop device it is a faulty disk.
//
// A process of its own serves it, so that it can die or hang while the one that
// uses it waits for it.
package faultfile

import (
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	imageEnv = "BTRKEEP_FAULTFILE_IMAGE"
	mountEnv = "BTRKEEP_FAULTFILE_MOUNT"
	name     = "disk" // of the served file
)

// Main must be called first in the main function, or TestMain, of a program
// that calls [Start]. It does not return in the server.
func Main() {
	image := os.Getenv(imageEnv)
	if image == "" {
		return
	}
	if err := serve(image, os.Getenv(mountEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "faultfile:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// File is a served file.
type File struct {
	Path string // of the file that fails

	server *exec.Cmd
	client *rpc.Client
}

// Start serves the image from inside the mount namespace, mounted on dir there.
// Beside the image it makes a second one for what is durable.
//
// In that namespace nothing may be mounted that lies on the served file. When a
// process dies, the kernel unmounts what it alone held before it closes the
// process's files: a dying server would wait for itself, forever.
func Start(image, dir, namespace string) (*File, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &File{server: exec.Command("nsenter", "--mount="+namespace, "--", exe)}
	f.server.Env = append(os.Environ(), imageEnv+"="+image, mountEnv+"="+dir)
	f.server.Stderr = os.Stderr
	stdin, err := f.server.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := f.server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := f.server.Start(); err != nil {
		return nil, err
	}
	f.Path = fmt.Sprintf("/proc/%d/root%s", f.server.Process.Pid, filepath.Join(dir, name))
	f.client = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{stdout, stdin})
	if err := f.call("Ready", Nothing{}, &Nothing{}); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close ends the server. Nothing may use the file any more.
func (f *File) Close() {
	// The server ends when its stdin does; one that was killed has ended.
	_ = f.client.Close()
	_ = f.server.Wait()
}

// Kill ends the server like a disk that is pulled: every request fails from
// now on. Close must still be called.
func (f *File) Kill() error {
	if err := f.server.Process.Kill(); err != nil {
		return err
	}
	_ = f.server.Wait() // says that it was killed
	return nil
}

// Fail makes requests of one kind fail from now on, instead of what was said
// for that kind before.
func (f *File) Fail(op Op, failure Failure) error {
	return f.call("Fail", FailArgs{op, failure}, &Nothing{})
}

// Hang stops all requests until Unhang or Clear, at most for [HangLimit].
func (f *File) Hang() error { return f.call("Hang", Nothing{}, &Nothing{}) }

// Unhang lets the requests go on that Hang stopped.
func (f *File) Unhang() error { return f.call("Unhang", Nothing{}, &Nothing{}) }

// IgnoreFlushes makes flushes succeed without making anything durable.
func (f *File) IgnoreFlushes() error { return f.call("IgnoreFlushes", Nothing{}, &Nothing{}) }

// Clear ends all faults.
func (f *File) Clear() error { return f.call("Clear", Nothing{}, &Nothing{}) }

// Stats returns the counters since the start.
func (f *File) Stats() (Stats, error) {
	var stats Stats
	return stats, f.call("Stats", Nothing{}, &stats)
}

// PowerCut writes to out what a power cut would leave now: all that was
// flushed, and of the rest each 4 KiB piece with the probability keep, chosen
// by seed.
func (f *File) PowerCut(out string, seed uint64, keep float64) error {
	return f.call("PowerCut", PowerCutArgs{out, seed, keep}, &Nothing{})
}

func (f *File) call(method string, args, reply any) error {
	if err := f.client.Call("Control."+method, args, reply); err != nil {
		return fmt.Errorf("faultfile %s: %w", method, err)
	}
	return nil
}
