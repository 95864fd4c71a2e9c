package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// inMemory is where servers keep their files, if it is there and has room: to make and remove some
// hundreds of them for each database takes a disk's file system longer than the tests.
const (
	inMemory = "/dev/shm"
	room     = 4 << 30 // bytes
)

// newFolder makes a folder for a server. It is none of t.TempDir, whose path is too long for a socket
// and closed to other users.
func newFolder() (string, error) {
	parent := os.TempDir()
	if hasRoom(inMemory) {
		parent = inMemory
	}
	return os.MkdirTemp(parent, fmt.Sprintf("lakefeed-pg-%d-", os.Getpid()))
}

func hasRoom(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= room
}

// sweep removes the folders of test binaries that were killed.
func sweep() {
	for _, parent := range []string{os.TempDir(), inMemory} {
		dirs, err := filepath.Glob(filepath.Join(parent, "lakefeed-pg-*"))
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "lakefeed-pg-"), "-")
			if n, err := strconv.Atoi(pid); err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
				os.RemoveAll(dir)
			}
		}
	}
}
