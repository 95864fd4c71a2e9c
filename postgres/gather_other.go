//go:build !unix

package postgres

import (
	"errors"
	"net"
)

func setLowWater(*net.TCPConn, int) error { return errors.ErrUnsupported }
