package config

import (
	"cmp"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Bootstrap says how tables are copied for the first time, and anew.
type Bootstrap struct {
	// Zero takes the defaults of postgres.Options and pipeline.Options.
	Connections int   // that copy side by side; zero: source.postgres.copy_connections
	ChunkBytes  int64 // that a chunk of a large table has, about
	// ResumeAbove is the size from which on a table is copied chunk by chunk, and an
	// interrupted copy goes on.
	ResumeAbove int64

	MaxBytesPerSecond int64         // of rows that are read; 0: no bound
	PauseAboveLag     time.Duration // by which a standby may lag while rows are read; 0: whatever it does
}

// readers is how many connections copy side by side; 0: the default of postgres.Options.
func (b *Bootstrap) readers(p *Postgres) int { return cmp.Or(b.Connections, p.CopyConnections) }

func (d *decoder) bootstrap(n ast.Node, at string) Bootstrap {
	b := Bootstrap{}
	d.mapping(n, at, keys{
		"connections":                 func(n ast.Node, at string) { b.Connections = int(d.count(n, at, 64)) },
		"chunk_bytes":                 func(n ast.Node, at string) { b.ChunkBytes = d.size(n, at) },
		"resume_above":                func(n ast.Node, at string) { b.ResumeAbove = d.size(n, at) },
		"max_bytes_per_second":        func(n ast.Node, at string) { b.MaxBytesPerSecond = d.size(n, at) },
		"pause_above_replication_lag": func(n ast.Node, at string) { b.PauseAboveLag = d.duration(n, at, false) },
	})
	return b
}
