package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"lakefeed/hudi"
	"lakefeed/internal/pgserver"
	"lakefeed/storage/file"
)

//go:embed hudi_rs.py
var hudiRS string

// read measures reading all rows of a table, meta columns too, to Arrow. Where hudi-rs is
// installed (`make setup`) it reads the same table right before, and what it takes is the
// bound.
func (b *bench) read(ctx context.Context, name, what string) error {
	limit := b.scaled(boundRead)
	rs, err := b.hudiRS(ctx, name)
	if err != nil {
		return fmt.Errorf("%s by hudi-rs: %w", what, err)
	}
	if rs.Rows > 0 {
		b.print(what+", hudi-rs", rs.CPU, rs.Wall, rs.MiB, "")
		limit = max(rs.CPU, 0.5)
	}
	return b.measureTo(what, limit, func() error {
		store, err := file.Open(filepath.Join(b.dir, name))
		if err != nil {
			return err
		}
		t, err := hudi.Open(ctx, store, hudi.Options{})
		if err != nil {
			return err
		}
		rows, columns := int64(0), int64(0)
		for batch, err := range t.Read(ctx, hudi.ReadOptions{Meta: true}) {
			if err != nil {
				return err
			}
			rows, columns = rows+batch.NumRows(), batch.NumCols()
		}
		if rows < b.rows || rs.Rows > 0 && (rows != rs.Rows || columns != rs.Columns) {
			return fmt.Errorf("%d rows of %d columns, want %d rows at least; hudi-rs read %d of %d", rows, columns, b.rows, rs.Rows, rs.Columns)
		}
		return nil
	})
}

// rsRead is what a read of hudi-rs took.
type rsRead struct {
	Rows    int64   `json:"rows"`
	Columns int64   `json:"columns"`
	CPU     float64 `json:"cpu"`
	Wall    float64 `json:"wall"`
	MiB     int     `json:"mib"`
}

// hudiRS lets hudi-rs read a table in a process of its own; nothing where it is not
// installed.
func (b *bench) hudiRS(ctx context.Context, name string) (rs rsRead, err error) {
	python := filepath.Join(pgserver.CacheDir(), "interop", "venv", "bin", "python")
	if _, err := os.Stat(python); errors.Is(err, os.ErrNotExist) {
		return rs, nil
	}
	cmd := exec.CommandContext(ctx, python, "-c", hudiRS, filepath.Join(b.dir, name))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return rs, err
	}
	return rs, json.Unmarshal(out, &rs)
}
