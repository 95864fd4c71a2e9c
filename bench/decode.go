package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"runtime/pprof"
	"time"

	"lakefeed/change"
	"lakefeed/postgres"
)

// decodeCommand makes this program one that only decodes.
const decodeCommand = "decode"

// decoded is what it prints.
type decoded struct {
	Changes  int64  `json:"changes"`
	Checksum uint32 `json:"checksum"`
}

// decode measures the connector alone, in a process of its own.
func (b *bench) decode(ctx context.Context, l backlog, what, end string, changes int64) error {
	if err := b.restoreSlot(ctx, l); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.self, decodeCommand, "-url", b.url, "-pipeline", string(l), "-end", end)
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(began)
	var d decoded
	if err := json.Unmarshal(out, &d); err != nil {
		return err
	}
	if d.Changes != changes {
		return fmt.Errorf("%s: %d changes, want %d", what, d.Changes, changes)
	}
	b.note(what, changes, usageOf(cmd.ProcessState, took))
	return nil
}

// decode reads the slot up to a position and checksums every buffer of every batch.
func decode(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(decodeCommand, flag.ContinueOnError)
	url := fs.String("url", "", "connection string")
	pipeline := fs.String("pipeline", pipelineName, "whose slot and publication are read")
	to := fs.String("end", "", "position to read up to")
	profile := fs.String("cpuprofile", "", "file for a CPU profile")
	if err := fs.Parse(args); err != nil {
		return err
	}
	end, err := change.ParseLSN(*to)
	if err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	c, err := postgres.Open(ctx, postgres.Options{URL: *url, Pipeline: *pipeline, Heartbeat: -1})
	if err != nil {
		return err
	}
	var d decoded
	err = d.drain(ctx, c, end)
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(d)
}

func (d *decoded) drain(ctx context.Context, c *postgres.Connector, end change.LSN) error {
	if err := c.Stream(ctx, 0); err != nil {
		return err
	}
	for {
		chunk, err := c.Next(ctx, time.Second)
		if err != nil {
			return err
		}
		for _, b := range chunk.Batches {
			d.add(b)
		}
		if len(chunk.Failures) > 0 {
			return chunk.Failures[0].Err
		}
		if chunk.Whole && chunk.End >= end {
			return nil
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// add takes a batch in and reads every byte of it. The sum depends on where the
// stream was cut into batches, and so on the time: it is there to be computed.
func (d *decoded) add(b *change.Batch) {
	d.Changes += int64(b.Len())
	for _, col := range b.Rows.Columns() {
		for _, buf := range col.Data().Buffers() {
			if buf != nil {
				d.Checksum = crc32.Update(d.Checksum, castagnoli, buf.Bytes())
			}
		}
	}
}
