package testdisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// loopMajor is the block major of /dev/loopN, fixed by the kernel.
const loopMajor = 7

// loop is an attached loop device. It detaches by itself when both its file
// and the file system on it are closed, so also when the process is killed.
type loop struct {
	file *os.File
	path string
}

// attachLoop puts a loop device on the image.
func attachLoop(image string) (*loop, error) {
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := openControl()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	// Between asking for a free device and taking it, another test may take it.
	for attempt := range 200 {
		l, err := takeFree(control, backing)
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV):
			return nil, fmt.Errorf("attach %s: %w", image, err)
		}
		time.Sleep(time.Duration(1+attempt%10) * time.Millisecond)
	}
	return nil, fmt.Errorf("attach %s: every free loop device was taken by others", image)
}

func openControl() (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if out, err := exec.Command("modprobe", "loop").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("this kernel has no loop devices: %w: %s", err, out)
		}
		control, err = os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	}
	return control, err
}

func takeFree(control, backing *os.File) (*loop, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
	}
	path := "/dev/loop" + strconv.Itoa(number)
	file, err := openNode(path, number)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if err := unix.IoctlLoopConfigure(int(file.Fd()), &config); err != nil {
		file.Close()
		return nil, os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	return &loop{file: file, path: path}, nil
}

// openNode opens a device node. A /dev that the kernel or udev fills has it a
// moment after LOOP_CTL_GET_FREE; in a plain /dev, as containers have, it must
// be made.
func openNode(path string, number int) (*os.File, error) {
	for range 10 {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if !errors.Is(err, os.ErrNotExist) {
			return file, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	device := unix.Mkdev(loopMajor, uint32(number))
	if err := unix.Mknod(path, unix.S_IFBLK|0o660, int(device)); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// close lets go of the device; the kernel detaches it with the last user.
func (l *loop) close() {
	l.file.Close()
}
