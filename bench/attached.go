package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// What a source is measured with: its own load, and who reads its log meanwhile.
const (
	loadAlone    = "pgbench, nobody attached"
	loadRecv     = "pgbench, pg_recvlogical attached"
	loadLakefeed = "pgbench, Lakefeed attached"
)

// Who reads it, and how many connections the load has.
const (
	loadPipeline = backlog("load")
	loadClients  = 4
)

// attached measures what pgbench loses while its log is read: alone, beside pg_recvlogical and beside
// Lakefeed, in turn. The server and pgbench have one core and the reader another, as if it were
// another machine: what the source loses is then what it does for the reader.
func (b *bench) attached(ctx context.Context) error {
	each := max(b.rows/200, 500) // transactions of one client
	b.say("measuring pgbench, %d transactions, with and without a reader of its log", each*loadClients)
	if err := b.run(ctx, b.server.Bin("pgbench"), "-i", "-q", "-s", "10", b.url); err != nil {
		return err
	}
	if err := b.pin(ctx, sourceCore); err != nil {
		return err
	}
	for range b.rounds {
		for _, r := range []struct {
			what   string
			attach func(context.Context) (*reader, error)
		}{{loadAlone, nobody}, {loadRecv, b.attachRecv}, {loadLakefeed, b.attachLakefeed}} {
			if err := b.loadBeside(ctx, r.what, each, r.attach); err != nil {
				return fmt.Errorf("%s: %w", r.what, err)
			}
		}
	}
	return nil
}

// reader is a process that reads the log.
type reader struct {
	cmd  *exec.Cmd
	done chan error
}

func nobody(context.Context) (*reader, error) { return nil, nil }

func (b *bench) loadBeside(ctx context.Context, what string, each int64, attach func(context.Context) (*reader, error)) error {
	if err := b.exec(ctx, "VACUUM pgbench_accounts, pgbench_branches, pgbench_tellers", "TRUNCATE pgbench_history", "CHECKPOINT"); err != nil {
		return err
	}
	r, err := attach(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.server.Bin("pgbench"), "-n", "-c", strconv.Itoa(loadClients), "-t", strconv.FormatInt(each, 10), b.url)
	err = b.measure(what, each*loadClients, onCore(sourceCore, cmd))
	return errors.Join(err, r.stop(), b.drop(ctx, loadPipeline.slot()))
}

// stop ends the reader as its user would.
func (r *reader) stop() error {
	if r == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return <-r.done
}

func (b *bench) attachRecv(ctx context.Context) (*reader, error) {
	sql := []string{
		"DROP PUBLICATION IF EXISTS " + loadPipeline.slot(),
		"CREATE PUBLICATION " + loadPipeline.slot() + " FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history",
		"SELECT pg_create_logical_replication_slot('" + loadPipeline.slot() + "', 'pgoutput')",
	}
	if err := b.exec(ctx, sql...); err != nil {
		return nil, err
	}
	r, err := start(b.receive(ctx, loadPipeline.slot(), loadPipeline.slot()))
	if err != nil {
		return nil, err
	}
	return r, await(ctx, "the reader is attached", func() bool {
		active, err := b.query(ctx, "SELECT active::text FROM pg_replication_slots WHERE slot_name = '"+loadPipeline.slot()+"'")
		return err == nil && active == "true"
	})
}

// attachLakefeed lets Lakefeed copy the tables and come to read the log.
func (b *bench) attachLakefeed(ctx context.Context) (*reader, error) {
	if err := b.exec(ctx, "DROP PUBLICATION IF EXISTS "+loadPipeline.slot()); err != nil {
		return nil, err
	}
	if err := b.newLake(loadPipeline, "public.pgbench_*"); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.binary, "run", "-c", b.config(), "--log-format", "json", "--listen", "127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	r, err := start(cmd)
	if err != nil {
		return nil, err
	}
	url := make(chan string, 1)
	go address(log, url)
	at := <-url
	return r, await(ctx, "the reader is attached", func() bool { return ready(ctx, at) })
}

// start starts a reader.
func start(cmd *exec.Cmd) (*reader, error) {
	if err := onCore(readerCore, cmd).Start(); err != nil {
		return nil, err
	}
	r := &reader{cmd, make(chan error, 1)}
	go func() { r.done <- cmd.Wait() }()
	return r, nil
}

// address is what the process logs of where its server listens; the rest is read away.
func address(log io.Reader, url chan<- string) {
	defer close(url)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var l struct{ Address string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && strings.HasPrefix(l.Address, "http") {
			url <- l.Address
			break
		}
	}
	_, _ = io.Copy(io.Discard, log) // it ends with the process
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (b *bench) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// The core of the server and its load, and that of the reader.
const (
	sourceCore = "0"
	readerCore = "1"
)

// onCore lets a program run on one core.
func onCore(core string, cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append([]string{"taskset", "-c", core, cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Err = exec.LookPath("taskset")
	return cmd
}

// pin keeps the server, and the processes that it starts from now on, on its core.
func (b *bench) pin(ctx context.Context, cores string) error {
	return b.run(ctx, "taskset", "-a", "-c", "-p", cores, strconv.Itoa(b.server.PID()))
}
