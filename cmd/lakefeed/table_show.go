package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
)

// tableInfo is what `table show` prints.
type tableInfo struct {
	Path       string          `json:"path"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Version    string          `json:"version"`
	RecordKey  []string        `json:"record_key"`
	Partitions string          `json:"partition_fields,omitempty"`
	Ordering   string          `json:"ordering_field,omitempty"`
	Payload    string          `json:"payload_class,omitempty"`
	Merging    string          `json:"merging"` // which of several records of a key counts, in words
	Index      string          `json:"index,omitempty"`
	Buckets    int             `json:"buckets"`
	Rows       int64           `json:"rows"`
	RowsExact  bool            `json:"rows_exact"` // else estimated, log files left out
	Folders    int             `json:"partitions"` // that hold rows
	FileGroups int             `json:"file_groups"`
	Bytes      int64           `json:"bytes"` // of the files that readers read now
	LogBytes   int64           `json:"log_bytes"`
	Commits    int             `json:"commits"` // completed writes on the active timeline
	Oldest     string          `json:"oldest_instant,omitempty"`
	Newest     string          `json:"newest_instant"`
	OldestAsOf string          `json:"oldest_as_of,omitempty"` // the oldest commit as of which it can be read
	LastDone   lastDone        `json:"last"`
	SinceComp  int             `json:"delta_commits_since_compaction"`
	Savepoints []string        `json:"savepoints"`
	Pins       []hudi.PinInfo  `json:"pins"`
	Pending    []instantInfo   `json:"pending"`
	Pipeline   string          `json:"pipeline,omitempty"` // that fills it
	Signs      []signInfo      `json:"locks_and_heartbeats"`
	Waits      []string        `json:"waits"`                    // what waits, for what, in words
	Metadata   []string        `json:"metadata_table,omitempty"` // its parts
	Writable   string          `json:"not_written,omitempty"`    // why Lakefeed would not write it
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`     // of Lakefeed, in the newest commit that has one

	Columns    []columnInfo      `json:"columns"`
	Properties map[string]string `json:"properties"`
}

type columnInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

// lastDone is when services last did something.
type lastDone struct {
	Compaction string `json:"compaction,omitempty"`
	Clustering string `json:"clustering,omitempty"`
	Clean      string `json:"clean,omitempty"`
	Archival   string `json:"archival,omitempty"` // a time
}

type signInfo struct {
	File string    `json:"file"`
	At   time.Time `json:"at"`
	Text string    `json:"text,omitempty"`
}

func tableShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show PATH",
		Short: "Print what a table is and how it stands: version, key, size, last services, what waits",
		Long: `Print what a table is and how it stands. Rows are estimated from the footers of a few files, and
exact where a table is small and has no log files; table stats --count counts them.`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			info, err := describe(cmd.Context(), t, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), info)
			}
			return info.print(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func describe(ctx context.Context, t *hudi.Table, path string) (*tableInfo, error) {
	props := t.Properties()
	info := &tableInfo{
		Path: path, Name: t.Name(), Type: string(t.Type()), Version: props["hoodie.table.version"],
		RecordKey: t.RecordKey(), Partitions: props["hoodie.table.partition.fields"],
		Ordering: firstOf(props["hoodie.table.ordering.fields"], props["hoodie.table.precombine.field"]),
		Payload:  firstOf(props["hoodie.compaction.payload.class"], props["hoodie.table.legacy.payload.class"]),
		Merging:  t.Merging(), Index: string(t.Index()), Buckets: t.Buckets(), Metadata: t.MetadataTable(), Folders: len(t.Partitions()), Properties: props,
		Savepoints: append([]string{}, t.Savepoints()...), Pins: []hudi.PinInfo{}, Pending: []instantInfo{}, Signs: []signInfo{}, Waits: []string{},
	}
	for _, s := range t.Slices() {
		info.FileGroups++
		if s.Base != nil {
			info.Bytes += s.Base.Size
		}
		for _, l := range s.Logs {
			info.Bytes += l.Size
			info.LogBytes += l.Size
		}
	}
	info.history(t)
	for _, f := range t.Schema().Fields() {
		info.Columns = append(info.Columns, columnInfo{Name: f.Name, Type: f.Type.String(), Nullable: f.Nullable})
	}
	if err := info.ask(ctx, t); err != nil {
		return nil, fmt.Errorf("show %s: %w", path, err)
	}
	info.waits(time.Now())
	return info, nil
}

// history is what the timeline says.
func (i *tableInfo) history(t *hudi.Table) {
	tl := t.Timeline()
	if done := tl.Completed(); len(done) > 0 {
		i.Commits, i.Oldest, i.Newest = len(done), done[0].Time, done[len(done)-1].Time
	}
	s := tableStats{}
	s.history(tl, t.Slices())
	i.LastDone.Compaction, i.LastDone.Clean, i.SinceComp = s.Compaction, s.Clean, s.SinceComp
	i.Pending = append(i.Pending, s.Pending...)
}

// ask reads what the timeline's names do not say.
func (i *tableInfo) ask(ctx context.Context, t *hudi.Table) (err error) {
	if i.Rows, i.RowsExact, err = t.EstimateRows(ctx); err != nil {
		return err
	}
	if i.OldestAsOf, err = t.OldestAsOf(ctx); err != nil {
		return err
	}
	if i.LastDone.Clustering, err = t.LastClustering(ctx); err != nil {
		return err
	}
	at, err := t.LastArchived(ctx)
	if err != nil {
		return err
	}
	if !at.IsZero() {
		i.LastDone.Archival = at.UTC().Format(time.RFC3339)
	}
	pins, err := t.Pins(ctx)
	if err != nil {
		return err
	}
	i.Pins = append(i.Pins, pins...)
	signs, err := t.Signs(ctx)
	if err != nil {
		return err
	}
	for _, s := range signs {
		i.Signs = append(i.Signs, signInfo{s.File, s.At.UTC(), strings.TrimSpace(s.Text)})
	}
	if err := t.Writable(); errors.As(err, new(*hudi.UnsupportedError)) {
		i.Writable = err.Error()
	}
	checkpoint, _, err := t.LastExtra(ctx, "lakefeed.checkpoint")
	if err != nil {
		return err
	}
	if json.Valid([]byte(checkpoint)) {
		i.Checkpoint = json.RawMessage(checkpoint)
	} else if i.Checkpoint, err = shardCheckpoints(ctx, t); err != nil {
		return err
	}
	if owner, err := pipeline.OwnerOf(ctx, t); err == nil && owner != nil { // else its checkpoint shows what is odd about it
		i.Pipeline = owner.Pipeline
	}
	return nil
}

// waits says in words what waits, and for what.
func (i *tableInfo) waits(now time.Time) {
	say := func(format string, args ...any) { i.Waits = append(i.Waits, fmt.Sprintf(format, args...)) }
	for _, p := range i.Pending {
		say("%s %s is %s: its writer's next step, or `lakefeed table rollback`, ends it", p.Action, p.Time, p.State)
	}
	live := 0
	for _, p := range i.Pins {
		if p.Until.After(now) {
			live++
		}
	}
	if live > 0 {
		say("cleaning keeps all from %s on, for %s", i.Pins[0].Instant, plural(int64(live), "pin"))
	}
	if len(i.Savepoints) > 0 {
		say("archiving goes no further than savepoint %s", i.Savepoints[0])
	}
}

func (i *tableInfo) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name string, v any) { _, _ = fmt.Fprintf(w, "%s\t%v\n", name, v) } // errors show at Flush
	some := func(name, v string) {
		if v != "" {
			line(name, v)
		}
	}
	line("table", i.Name)
	line("type", i.Type)
	line("version", i.Version)
	line("record key", strings.Join(i.RecordKey, ", "))
	some("partitioned by", i.Partitions)
	some("ordering field", i.Ordering)
	some("payload", i.Payload)
	line("of a key counts", i.Merging)
	line("index", firstOf(i.Index, "the table does not say"))
	if i.Buckets > 0 {
		line("buckets", i.Buckets)
	}
	if len(i.Metadata) > 0 {
		line("metadata table", i.metadata())
	}
	line("rows", i.rows())
	line("size", i.size())
	line("commits", i.Commits)
	some("oldest", i.Oldest)
	line("newest", i.Newest)
	some("readable as of", i.OldestAsOf)
	i.printServices(some)
	i.printOthers(some)
	if err := w.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out) // as above
	for _, c := range i.Columns {
		null := ""
		if !c.Nullable {
			null = " not null"
		}
		line("  "+c.Name, c.Type+null)
	}
	return w.Flush()
}

// metadata tells what the table's metadata table has, and what becomes of it.
func (i *tableInfo) metadata() string {
	text := strings.Join(i.Metadata, ", ")
	if i.Writable == "" {
		text += ": not kept up here, and removed before anything is written"
	}
	return text
}

func (i *tableInfo) rows() string {
	switch {
	case i.RowsExact:
		return thousands(i.Rows)
	case i.LogBytes > 0:
		return "about " + thousands(i.Rows) + ", those in log files left out"
	}
	return "about " + thousands(i.Rows)
}

func (i *tableInfo) size() string {
	text := figure.Bytes(i.Bytes)
	if i.LogBytes > 0 {
		text += fmt.Sprintf(" (%s in log files)", figure.Bytes(i.LogBytes))
	}
	text += " in " + plural(int64(i.FileGroups), "file group")
	if i.Partitions != "" {
		text += " of " + plural(int64(i.Folders), "partition")
	}
	return text
}

// printServices tells what was done last, and what stands in the way of it.
func (i *tableInfo) printServices(some func(name, v string)) {
	compaction := i.LastDone.Compaction
	if i.SinceComp > 0 {
		compaction = strings.TrimSpace(fmt.Sprintf("%s (%s since)", firstOf(compaction, "never"), plural(int64(i.SinceComp), "delta commit")))
	}
	some("last compaction", compaction)
	some("last clustering", i.LastDone.Clustering)
	some("last cleaning", i.LastDone.Clean)
	some("last archiving", i.LastDone.Archival)
	some("savepoints", strings.Join(i.Savepoints, ", "))
	for _, p := range i.Pins {
		some("pin", fmt.Sprintf("%s until %s, %s", p.Instant, p.Until.Format(time.RFC3339), p.Owner))
	}
}

// printOthers tells who writes the table, and what waits.
func (i *tableInfo) printOthers(some func(name, v string)) {
	some("pipeline", i.Pipeline)
	for _, s := range i.Signs {
		some("lock or heartbeat", strings.TrimSpace(fmt.Sprintf("%s of %s %s", s.File, s.At.Format(time.RFC3339), s.Text)))
	}
	some("not written", i.Writable)
	for _, text := range i.Waits {
		some("waits", text)
	}
	some("checkpoint", string(i.Checkpoint))
}

// shardCheckpoints is the newest checkpoint of each shard that fills a table, by its name; nil where none does.
func shardCheckpoints(ctx context.Context, t *hudi.Table) (json.RawMessage, error) {
	const prefix = "lakefeed.checkpoint."
	found, err := t.LastExtras(ctx, prefix)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	for key, text := range found {
		if json.Valid([]byte(text)) {
			all[strings.TrimPrefix(key, prefix)] = json.RawMessage(text)
		}
	}
	return json.Marshal(all)
}
