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
	drainDebezium   = "Debezium, embedded engine"
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

// recvlogical lets PostgreSQL's own program receive a backlog and drop it.
func (b *bench) recvlogical(ctx context.Context, l backlog, what, end string, changes int64) error {
	const name = "bench_recvlogical"
	if err := b.copySlot(ctx, l.kept(), name); err != nil {
		return err
	}
	if err := b.measure(what, changes, b.receive(ctx, name, l.slot(), "--endpos", end)); err != nil {
		return err
	}
	return b.drop(ctx, name)
}

// receive is pg_recvlogical, reading a slot.
func (b *bench) receive(ctx context.Context, slot, publication string, more ...string) *exec.Cmd {
	args := append([]string{
		"-d", b.url, "--slot", slot, "--start", "--no-loop", "-f", os.DevNull, "-F", "0",
		"-o", "proto_version=1", "-o", "publication_names=" + publication, "-o", "binary=true", "-o", "messages=true",
	}, more...)
	cmd := exec.CommandContext(ctx, b.server.Bin("pg_recvlogical"), args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// await waits until something is so, five minutes at most.
func await(ctx context.Context, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}
