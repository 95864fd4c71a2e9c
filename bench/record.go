package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// record is all that is written down of a run.
type record struct {
	Date     string      `json:"date"`
	Commit   string      `json:"commit"`
	CPU      string      `json:"cpu"`
	Cores    int         `json:"cores"`
	Load     [2]string   `json:"load"` // average before and after; others' work is in it
	Go       string      `json:"go"`
	Postgres string      `json:"postgres"`
	Rows     int64       `json:"rows"`
	Rounds   int         `json:"rounds"`
	Measured []*measured `json:"measured"`
	Spilled  int64       `json:"spilled_bytes"` // of the large transaction
	Bounds   []bound     `json:"bounds"`
}

// measured is one thing that was measured several times.
type measured struct {
	What        string  `json:"what"`
	Changes     int64   `json:"changes"`
	Compactions int     `json:"file_groups_compacted,omitempty"` // in the last run
	Runs        []usage `json:"runs"`
}

func newRecord(ctx context.Context, d *database, rows int64, rounds int) record {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude", "*").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return record{
		Date: time.Now().UTC().Format(time.DateOnly), Commit: strings.TrimSpace(string(commit)),
		CPU: cpuModel(), Cores: runtime.NumCPU(), Load: [2]string{load()}, Go: runtime.Version(), Postgres: d.serverVersion,
		Rows: rows, Rounds: rounds,
	}
}

// load is how many processes wanted a core over the last five minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(text)); err == nil && len(f) > 1 {
		return f[1]
	}
	return "unknown"
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// of is what is known of something.
func (r *record) of(what string) *measured {
	for _, m := range r.Measured {
		if m.What == what {
			return m
		}
	}
	m := &measured{What: what}
	r.Measured = append(r.Measured, m)
	return m
}

func (r *record) add(what string, changes int64, u usage) *measured {
	m := r.of(what)
	m.Changes = changes
	m.Runs = append(m.Runs, u)
	return m
}

func (r *record) compactions(what string, n int) { r.of(what).Compactions = n }

func (r *record) changes(what string) float64 { return float64(r.of(what).Changes) }

func (r *record) median(what string) usage { return r.of(what).pick(func(n int) int { return n / 2 }) }

func (r *record) peak(what string) int64 {
	peak := int64(0)
	for _, u := range r.of(what).Runs {
		peak = max(peak, u.Peak)
	}
	return peak
}

// pick takes each figure's own place in its order.
func (m *measured) pick(place func(n int) int) usage {
	if len(m.Runs) == 0 {
		return usage{}
	}
	at := place(len(m.Runs))
	return usage{
		Wall: nth(m.Runs, at, func(u usage) float64 { return u.Wall }),
		CPU:  nth(m.Runs, at, func(u usage) float64 { return u.CPU }),
		Peak: nth(m.Runs, at, func(u usage) int64 { return u.Peak }),
	}
}

func nth[T cmp.Ordered](runs []usage, n int, of func(usage) T) T {
	values := make([]T, len(runs))
	for i, u := range runs {
		values[i] = of(u)
	}
	slices.Sort(values)
	return values[n]
}

// markdown is the record for people.
func (r *record) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, commit %s\n\n", r.Date, r.Commit)
	fmt.Fprintf(&b, "%s, %d cores; PostgreSQL %s, %s; %d rows, %d rounds; load average over five minutes before %s, after %s.\n\n", r.CPU, r.Cores, r.Postgres, r.Go, r.Rows, r.Rounds, r.Load[0], r.Load[1])
	b.WriteString("| what | rows or changes | wall s, min / median | CPU s, min / median | a second | CPU s per M | peak MiB |\n|---|---|---|---|---|---|---|\n")
	for _, m := range r.Measured {
		least, middle := m.pick(func(int) int { return 0 }), m.pick(func(n int) int { return n / 2 })
		peak := "-"
		if p := r.peak(m.What); p > 0 {
			peak = strconv.FormatInt(p>>20, 10)
		}
		what := m.What
		if m.Compactions > 0 {
			what += fmt.Sprintf(", %d file groups compacted", m.Compactions)
		}
		n := float64(m.Changes)
		fmt.Fprintf(&b, "| %s | %d | %.1f / %.1f | %.1f / %.1f | %.0f | %.1f | %s |\n", what, m.Changes,
			least.Wall, middle.Wall, least.CPU, middle.CPU, n/middle.Wall, middle.CPU/n*1e6, peak)
	}
	b.WriteString("\nCPU seconds are the client process's; for COPY in the server, the backend's.\n\n| bound | measured | met |\n|---|---|---|\n")
	for _, x := range r.Bounds {
		met := "yes"
		if !x.Met {
			met = "**no**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", x.Promise, x.Measured, met)
	}
	return b.String()
}

// write writes the record into dir, for people and for programs.
func (r *record) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, "bench-"+r.Date+"-"+r.Commit)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	if err := os.WriteFile(name+".json", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".md", []byte(r.markdown()), 0o644)
}
