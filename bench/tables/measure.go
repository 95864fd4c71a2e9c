package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// measure runs a step and prints what it took. The bound, in CPU seconds for 5 M rows,
// shrinks with the table but for what a commit costs by itself.
func (b *bench) measure(what string, bound float64, step func() error) error {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // so that the peak is the step's
	cpu, start := cpuTime(), time.Now()
	if err := step(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took, wall := (cpuTime() - cpu).Seconds(), time.Since(start).Seconds()
	limit := max(bound*float64(b.rows)/5e6, 0.5)
	verdict := ""
	if took > limit {
		verdict = "  MISSED"
		b.missed++
	}
	fmt.Printf("%-52s %8.2f %8.2f %8d %8.2f%s\n", what, took, wall, peak(), limit, verdict)
	return nil
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
