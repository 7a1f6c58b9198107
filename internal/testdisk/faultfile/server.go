package faultfile

import (
	"context"
	"io"
	"net/rpc"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// serve is the server's main program: a FUSE file, and its controls on stdin
// and stdout. It ends with stdin.
func serve(image, mountPoint string) error {
	s, err := openStore(image)
	if err != nil {
		return err
	}
	server, err := fs.Mount(mountPoint, &root{store: s}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, // mount(2), no fusermount
		FsName:            "faultfile",
		Name:              "faultfile",
		MaxWrite:          1 << 20,
		DisableXAttrs:     true,
		DisableSplice:     true, // it complains on standard error of requests of 1 MiB
	}})
	if err != nil {
		return err
	}
	controls := rpc.NewServer()
	if err := controls.Register(&Control{s}); err != nil {
		return err
	}
	controls.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	s.clear()
	return server.Unmount()
}

type root struct {
	fs.Inode
	store *store
}

func (r *root) OnAdd(ctx context.Context) {
	child := r.NewPersistentInode(ctx, &file{store: r.store}, fs.StableAttr{Mode: unix.S_IFREG})
	r.AddChild(name, child, true)
}

// file is the file beneath the loop device.
type file struct {
	fs.Inode
	store *store
}

var _ interface {
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeAllocater
} = (*file)(nil)

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize = 0o600, uint64(f.store.size), piece
	return 0
}

// Setattr is asked for after writes, to set times.
func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

// Open keeps the page cache out, which would hide faults.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, b []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n, errno := f.store.read(b, offset)
	return fuse.ReadResultData(b[:n]), errno
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, b []byte, offset int64) (uint32, syscall.Errno) {
	return uint32(len(b)), f.store.change(Write, change{offset, int64(len(b)), b})
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return f.store.flush()
}

// Allocate is a discard or a request for zeros; both leave zeros here.
func (f *file) Allocate(_ context.Context, _ fs.FileHandle, offset, n uint64, mode uint32) syscall.Errno {
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return syscall.EOPNOTSUPP
	}
	return f.store.change(Discard, change{int64(offset), int64(n), nil})
}
