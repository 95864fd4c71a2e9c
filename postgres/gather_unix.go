//go:build unix

package postgres

import (
	"net"
	"syscall"
)

// setLowWater sets how many bytes must have come before the kernel wakes a reader.
func setLowWater(c *net.TCPConn, n int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n)
	})
	if err != nil {
		return err
	}
	return failed
}
