package config

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/postgres/rdsiam"
)

// Source is the options of the connector that reads the pipeline's source.
func (p *Pipeline) Source(log *slog.Logger) postgres.Options {
	return postgres.Options{
		URL:             p.Postgres.URL,
		PrimaryURL:      p.Postgres.PrimaryURL,
		SnapshotURL:     p.Postgres.SnapshotURL,
		SignalTable:     p.Postgres.SignalTable,
		Failover:        p.Postgres.Failover,
		Password:        p.Postgres.password(),
		Pipeline:        p.Name,
		Match:           p.Match,
		Types:           p.types,
		Heartbeat:       p.Postgres.HeartbeatInterval,
		CopyConnections: p.Bootstrap.readers(&p.Postgres),
		CopyRate:        postgres.NewRate(p.Bootstrap.MaxBytesPerSecond, p.copyConnections()),
		CopyLag:         p.Bootstrap.PauseAboveLag,

		Messages:          p.keeps(),
		WholeTransactions: p.Postgres.WholeTransactions,
		SpillDir:          p.SpillDir,
		ReceiveTimeout:    p.Postgres.ReceiveTimeout,

		Logger: log,
	}
}

// copyConnections is how many connections copy side by side, through all slots: one each at least.
func (p *Pipeline) copyConnections() int {
	return max(cmp.Or(p.Bootstrap.readers(&p.Postgres), postgres.DefaultCopyConnections), 1+len(p.Slots.Names()))
}

// password makes a password for each connection, nil where the URL or a passfile has it.
func (s *Postgres) password() postgres.Password {
	if s.RDSIAM == nil {
		return nil
	}
	sign := rdsiam.New(*s.RDSIAM)
	return func(ctx context.Context, host string, port uint16, user string) (string, error) {
		token, err := sign.Token(ctx, host, port, user)
		if errors.Is(err, rdsiam.ErrNoRegion) {
			err = &postgres.SetupError{What: err.Error()}
		}
		return token, err
	}
}

// Options is the options of the pipeline; its source and lake, which the caller
// opens and closes, are still to be filled in.
func (p *Pipeline) Options(log *slog.Logger) pipeline.Options {
	return pipeline.Options{
		Name:           p.Name,
		Table:          p.Table,
		Interval:       p.CommitInterval,
		MaxRows:        p.MaxRows,
		MaxBytes:       p.MaxBytes,
		MemoryBudget:   p.MemoryBudget,
		SpillDir:       p.SpillDir,
		SpoolBytes:     p.Spool.MaxBytes,
		WALBudget:      p.WALBudget,
		Remake:         p.RemakeSlot,
		IndexDir:       p.IndexDir,
		Bootstrap:      pipeline.Bootstrap{ChunkBytes: p.Bootstrap.ChunkBytes, ResumeAbove: p.Bootstrap.ResumeAbove, Standby: p.Postgres.SnapshotURL != "", Readers: p.Bootstrap.readers(&p.Postgres)},
		LeanColumns:    p.Lake.LeanColumns,
		CompactAfter:   p.CompactAfter,
		RetainCommits:  p.RetainCommits,
		ArchiveKeepMin: p.ArchiveKeepMin, ArchiveKeepMax: p.ArchiveKeepMax,
		Logger: log,
	}
}

// keeps says by their prefix which logical messages are kept, nil where none are.
func (p *Pipeline) keeps() func(prefix string) bool {
	if len(p.Messages.Match) == 0 {
		return nil
	}
	return func(prefix string) bool {
		return slices.ContainsFunc(p.Messages.Match, func(m *regexp.Regexp) bool { return m.MatchString(prefix) })
	}
}

var tableTypes = map[TableType]hudi.TableType{MergeOnRead: hudi.MergeOnRead, CopyOnWrite: hudi.CopyOnWrite}

// Table says how a source table lands.
func (p *Pipeline) Table(t *change.Table) pipeline.TableOptions {
	o := pipeline.TableOptions{Type: tableTypes[p.Lake.TableType], Schema: p.schemaOf(t)}
	if t.LogOnly {
		o.Path = cmp.Or(p.Messages.Path, "_lakefeed/messages/"+p.Name)
		return o
	}
	e := p.Entry(t.Schema, t.Name)
	if e == nil {
		return o
	}
	o.Buckets, o.PartitionBy = e.Buckets, e.PartitionBy
	if e.TableType != "" {
		o.Type = tableTypes[e.TableType]
	}
	o.Path = strings.NewReplacer("{schema}", inPath(t.Schema), "{table}", inPath(t.Name)).Replace(e.Path)
	return o
}

// inPath is a name as a part of a path: what may not stand there becomes _.
func inPath(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, name)
}
