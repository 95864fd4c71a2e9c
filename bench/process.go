package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// What is measured.
const (
	copyServer      = "COPY to /dev/null in the server"
	copyLake        = "first copy into a table"
	drainRecv       = "pg_recvlogical"
	drainDecode     = "decoding to Arrow batches"
	drainLake       = "backlog into committed tables"
	transactionLake = "one large transaction"
)

// usage is what one run of a program took.
type usage struct {
	Wall float64 `json:"wall_seconds"`
	CPU  float64 `json:"cpu_seconds"`          // of the client process, of the backend for COPY in the server
	Peak int64   `json:"peak_bytes,omitempty"` // resident memory
}

// measure runs a program to its end.
func (b *bench) measure(what string, changes int64, cmd *exec.Cmd) error {
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.note(what, changes, usageOf(cmd.ProcessState, time.Since(began)))
	return nil
}

// usageOf asks the kernel. What it calls the peak includes what the forked child
// shared with this program before it became another, which is small.
func usageOf(s *os.ProcessState, wall time.Duration) usage {
	u := usage{Wall: wall.Seconds(), CPU: (s.UserTime() + s.SystemTime()).Seconds()}
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		u.Peak = r.Maxrss << 10 // Linux counts in KiB
	}
	return u
}

// note writes down a run of something.
func (b *bench) note(what string, changes int64, u usage) {
	m := b.record.add(what, changes, u)
	b.say("%-34s %6.1f s %6.1f CPU-s %8.0f/s %6.1f CPU-s per M %4d MiB", m.What, u.Wall, u.CPU,
		float64(changes)/u.Wall, u.CPU/float64(changes)*1e6, u.Peak>>20)
}

// recvlogical lets PostgreSQL's own program receive the backlog and drop it.
func (b *bench) recvlogical(ctx context.Context, end string, changes int64) error {
	const name = "bench_recvlogical"
	if err := b.copySlot(ctx, master, name); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.server.Bin("pg_recvlogical"), "-d", b.url, "--slot", name, "--start",
		"--endpos", end, "--no-loop", "-f", os.DevNull, "-F", "0",
		"-o", "proto_version=1", "-o", "publication_names="+slot, "-o", "binary=true", "-o", "messages=true")
	cmd.Stderr = os.Stderr
	if err := b.measure(drainRecv, changes, cmd); err != nil {
		return err
	}
	return b.drop(ctx, name)
}
