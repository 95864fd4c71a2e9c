package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// scaled is a bound in CPU seconds for 5 M rows, as it is for this table: but for what a
// commit costs by itself it shrinks with it.
func (b *bench) scaled(bound float64) float64 { return max(bound*float64(b.rows)/5e6, 0.5) }

// measure runs a step, with a bound for 5 M rows, and prints what it took.
func (b *bench) measure(what string, bound float64, step func() error) error {
	return b.measureTo(what, b.scaled(bound), step)
}

// measureTo is measure with a bound for this table; 0: none.
func (b *bench) measureTo(what string, limit float64, step func() error) error {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // so that the peak is the step's
	cpu, start := cpuTime(), time.Now()
	if err := step(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took, wall, mib := (cpuTime() - cpu).Seconds(), time.Since(start).Seconds(), peak()
	verdict := ""
	if limit > 0 {
		verdict = fmt.Sprintf("%.2f", limit)
	}
	if limit > 0 && took > limit || mib > b.mib {
		verdict += "  MISSED"
		b.missed++
	}
	b.print(what, took, wall, mib, verdict)
	return nil
}

func (b *bench) print(what string, cpu, wall float64, mib int, verdict string) {
	fmt.Printf("%-56s %8.2f %8.2f %8d %8s\n", what, cpu, wall, mib, verdict)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak is the most memory that was resident, in MiB.
func peak() int {
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}
