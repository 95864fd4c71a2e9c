package file

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// FS is what the store needs of a file system. The one of the operating system
// is the default; a test's may crash.
//
// Its files' types are aliases, so that a package may implement it that does not
// import this one.
type FS interface {
	// Create makes a new file; one that is there is an error.
	Create(name string) (File, error)
	Open(name string) (OpenFile, error)
	// Link gives a file a second name; one that is there is an error ([fs.ErrExist]).
	Link(from, to string) error
	// Rename gives a file another name, over a file that is there.
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	Mkdir(name string) error
	// ReadDir lists a folder in the order of names.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// Lock takes the lock of a file that is there, until it is closed or the process
	// dies; [syscall.EWOULDBLOCK] while another has it.
	Lock(name string) (io.Closer, error)
	// SyncDir puts the entries of a folder on stable storage.
	SyncDir(name string) error
}

// File is a file that is written.
type File = interface {
	io.Writer
	io.Closer
	// Sync puts what was written on stable storage.
	Sync() error
}

// OpenFile is a file that is read.
type OpenFile = interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// OS is the operating system's file system.
type OS struct{}

// Create implements [FS].
func (OS) Create(name string) (File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// Open implements [FS].
func (OS) Open(name string) (OpenFile, error) { return os.Open(name) }

// Link implements [FS].
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Rename implements [FS].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll implements [FS].
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Mkdir implements [FS].
func (OS) Mkdir(name string) error { return os.Mkdir(name, 0o755) }

// ReadDir implements [FS].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat implements [FS].
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Lock implements [FS]. The lock is on the file and not on its name: one that was
// replaced before we had its lock is left for its successor.
func (OS) Lock(name string) (io.Closer, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		same, err := lock(f, name)
		if err == nil && same {
			return f, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lock locks a file and reports whether it still has that name.
func lock(f *os.File, name string) (bool, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(name)
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, now), nil
}

// SyncDir implements [FS].
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
