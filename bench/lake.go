package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// build builds the lakefeed program.
func build(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "lakefeed/cmd/lakefeed").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build lakefeed: %w\n%s", err, out)
	}
	return nil
}

func (b *bench) lake() string   { return filepath.Join(b.dir, "lake") }
func (b *bench) saved() string  { return filepath.Join(b.dir, "lake.saved") }
func (b *bench) config() string { return filepath.Join(b.dir, "lakefeed.yaml") }

// newLake begins an empty one for tables, with the settings that are the defaults.
func (b *bench) newLake(pipeline backlog, tables string) error {
	text := fmt.Sprintf(`pipelines:
  - name: %s
    source:
      postgres:
        url: %q
    tables:
      - match: %q
    lake:
      url: %s
`, pipeline, b.url, tables, b.lake())
	return errors.Join(os.RemoveAll(b.lake()), os.WriteFile(b.config(), []byte(text), 0o600))
}

// keepLake puts a copy of the lake aside, and restoreLake takes it back.
func (b *bench) keepLake() error { return replaceFolder(b.saved(), b.lake()) }

func (b *bench) restoreLake() error { return replaceFolder(b.lake(), b.saved()) }

func replaceFolder(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// lakefeed runs `lakefeed run --once`, and returns the bytes that it spilled.
func (b *bench) lakefeed(ctx context.Context, what string, changes int64) (spilled int64, err error) {
	cmd := exec.CommandContext(ctx, b.binary, "run", "--once", "-c", b.config(), "--log-format", "json", "--listen", "127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	w := &watch{ctx: ctx, done: make(chan struct{})}
	go w.run(log)
	<-w.done
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", what, err, w.text.String())
	}
	b.note(what, changes, usageOf(cmd.ProcessState, time.Since(began)))
	b.record.compactions(what, w.compacted)
	return w.spilled, nil
}

// watch reads what a lakefeed process logs, and asks its server twice a second.
type watch struct {
	ctx  context.Context //nolint:containedctx // lives as long as the process
	done chan struct{}
	text bytes.Buffer

	spilled   int64
	compacted int // file groups
}

func (w *watch) run(log io.Reader) {
	defer close(w.done)
	ask, asked := make(chan struct{}), make(chan struct{})
	url := make(chan string, 1)
	go func() {
		defer close(asked)
		w.poll(url, ask)
	}()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		w.text.Write(append(lines.Bytes(), '\n'))
		var l struct {
			Address, Msg string
			Groups       int `json:"file groups"`
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue
		}
		if strings.HasPrefix(l.Address, "http") {
			url <- l.Address
		}
		if l.Msg == "compacted" {
			w.compacted += l.Groups
		}
	}
	close(ask)
	<-asked
}

func (w *watch) poll(url <-chan string, stop <-chan struct{}) {
	var at string
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case at = <-url:
		case <-stop:
			return
		case <-tick.C:
			if at != "" {
				w.spilled = max(w.spilled, metric(w.ctx, at+"/metrics", "lakefeed_spilled_bytes_total"))
			}
		}
	}
}

// metric is the value of a metric; 0 where the server does not answer (any more).
func metric(ctx context.Context, url, name string) int64 {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+"{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			v, err := strconv.ParseFloat(value, 64)
			if err == nil {
				return int64(v)
			}
		}
	}
	return 0
}
