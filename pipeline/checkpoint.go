package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// checkpointKey is the key of a commit's extra metadata under which a table says
// what of its source it holds.
const checkpointKey = "lakefeed.checkpoint"

// checkpoint is what a commit of a table covers: every transaction of the source
// whose commit record starts before LSN, and nothing else.
type checkpoint struct {
	Pipeline string          `json:"pipeline"`
	Table    string          `json:"table"`            // source name
	Path     string          `json:"path,omitempty"`   // the table's folder in the lake
	Writer   string          `json:"writer,omitempty"` // the pipeline of several shards that writes the table; "": Pipeline does
	Source   change.Identity `json:"source"`
	From     change.LSN      `json:"from"` // the commit's own window is [From, LSN)
	LSN      change.LSN      `json:"lsn"`
	First    change.LSN      `json:"first,omitzero"`  // where the first transaction commits that it has a change of; 0: a copy, or of before this was noted
	Last     change.Mark     `json:"last,omitzero"`   // the newest transaction that was read then; none: the first copy
	Copied   change.LSN      `json:"copied,omitzero"` // the snapshot of its newest copy, 0: of before this was noted
	description
	// Emptied is the transaction that last truncated the source's table as a whole.
	Emptied uint32 `json:"emptied,omitzero"`
	// Partitions are the levels of the table's partitions, none where it has none.
	Partitions []partitionColumn `json:"partitions,omitempty"`
}

// knownColumn is a column of the source table as it was when the table last committed.
type knownColumn struct {
	Name    string `json:"name"`
	Lake    string `json:"lake"`              // its name in the lake
	ID      int    `json:"id,omitempty"`      // 0: not known
	Shape   string `json:"shape,omitempty"`   // empty: not known
	Default uint32 `json:"default,omitempty"` // as [change.Column] has it
	// SQL is the source's name of its type; empty: not known, as in checkpoints of before
	// it was noted. Required says that it takes no NULL.
	SQL      string `json:"sql,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Type is nil where the type has none, and in checkpoints of before it was noted.
	Type  change.Definition `json:"type,omitempty"`
	Reads string            `json:"reads,omitempty"` // as [change.Column] has it
}

// describe notes what the table looks like in version v. What the source could not
// say of a column stays as it was.
func (c *description) describe(v *change.Table) {
	had := map[string]knownColumn{}
	for _, k := range c.Columns {
		had[k.Name] = k
	}
	c.TableID = v.ID
	if v.Storage != "" {
		c.Storage = v.Storage
	}
	if v.Generated != nil {
		c.Generated = v.Generated
	}
	c.Columns, c.Key, c.Left = nil, nil, nil
	names := columnNames(v)
	for i, col := range v.Columns {
		k := knownColumn{Name: col.Name, Lake: names[i], ID: col.ID, Shape: col.Shape, Default: col.Default, SQL: col.Type, Required: !col.Nullable, Type: col.Definition}
		old := had[col.Name]
		k.Reads = cmp.Or(col.Reads, old.Reads)
		if col.ID == 0 {
			k.ID, k.Shape, k.Default, k.Type = old.ID, old.Shape, old.Default, old.Type
			k.Required = k.Required || old.Required
		} else if old.ID == col.ID {
			k.Type = old.Type.With(col.Definition)
		}
		c.Columns = append(c.Columns, k)
	}
	for name, k := range had {
		if c.shared && columnIndex(v, name) < 0 && !slices.Contains(c.Gone, k.Lake) {
			c.Gone = append(c.Gone, k.Lake)
		}
	}
	slices.Sort(c.Gone)
	c.Key = keyNames(v)
}

func (c checkpoint) extra() (map[string]string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	return map[string]string{checkpointKey: string(b)}, nil
}

// decodeCheckpoint reads a checkpoint.
func decodeCheckpoint(text string) (*checkpoint, error) {
	c := new(checkpoint)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return nil, err
	}
	c.shared = c.Writer != ""
	return c, nil
}

// anyCheckpoint is the newest checkpoint of a table, one of several where it has those of shards; nil
// where there is none.
func anyCheckpoint(ctx context.Context, t *hudi.Table) (*checkpoint, error) {
	all, err := checkpoints(ctx, t)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// checkpoints are the newest ones of a table: one, or those of shards, by their names; none where there is none.
func checkpoints(ctx context.Context, t *hudi.Table) (all []*checkpoint, err error) {
	at, err := readCheckpoint(ctx, t, "")
	if err != nil {
		return nil, err
	}
	if at != nil {
		return []*checkpoint{at}, nil
	}
	marks, err := t.LastExtras(ctx, shardKeys)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(marks)) {
		c, err := decodeCheckpoint(marks[key])
		if err != nil {
			return nil, fmt.Errorf("read %s in the newest commit of %s: %w", key, t.Name(), err)
		}
		all = append(all, c)
	}
	return all, nil
}

// readCheckpoint is the newest checkpoint of a table, that of a shard where the pipeline is one's; nil
// where there is none.
func readCheckpoint(ctx context.Context, t *hudi.Table, pipeline string) (*checkpoint, error) {
	v, instant, err := t.LastExtra(ctx, CheckpointKey(pipeline))
	if err != nil || v == "" {
		return nil, err
	}
	c, err := decodeCheckpoint(v)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint in commit %s of %s: %w", instant, t.Name(), err)
	}
	return c, nil
}

// progress is a pipeline's record in the lake, <lake>/_lakefeed/progress/<pipeline>:
// how far its source may be acknowledged. It is written before each acknowledgement.
type progress struct {
	Pipeline string          `json:"pipeline"`
	Source   change.Identity `json:"source"`
	// Starting says that the slot is about to be made, or was just made: until
	// the first LSN is recorded the slot may be dropped and made anew.
	Starting bool        `json:"starting,omitempty"`
	LSN      change.LSN  `json:"lsn"`
	Last     change.Mark `json:"last,omitzero"` // the newest transaction that the lake was written from
	// Seen is up to when, by the source's clock, it is known that what is before LSN is all.
	Seen   time.Time `json:"seen,omitzero"`
	Tables []string  `json:"tables,omitempty"` // that were followed up to LSN
	// Commits are the checkpoints that these tables had: one that is behind its own
	// was taken back, and the source has forgotten what it lacks.
	Commits map[string]change.LSN `json:"commits,omitempty"`
	// Folders are those that tables were given under the lake, by source name.
	Folders map[string]string `json:"folders,omitempty"`
	// Published is how the source published these tables when they were taken.
	Published map[string]change.Published `json:"published,omitempty"`
	// Spooled is where the newest segment of each table ends that has some in the spool: one
	// that is gone is missed.
	Spooled map[string]change.LSN `json:"spooled,omitempty"`
	// Aside are tables of which something before LSN is not in the lake: each holds what its
	// newest commit covers, the others all before LSN.
	Aside []string `json:"aside,omitempty"`
	// Stopped are the tables that only a new copy helps, and why.
	Stopped map[string]stopNote `json:"stopped,omitempty"`
	// Remake says that the slot is about to be made anew, or was just made: until the next
	// record one of that name may be dropped. Dropped is why the governor dropped it.
	Remake  bool      `json:"remake,omitempty"`
	Dropped string    `json:"dropped,omitempty"`
	Written time.Time `json:"written"`
}

// stopNote is why a table waits for a new copy, and where its last one was made.
type stopNote struct {
	Why    string     `json:"why"`
	Copied change.LSN `json:"copied"`
	Recopy bool       `json:"recopy,omitempty"` // that is to be made by itself
}

// follows reports whether the record has a table.
func (r *progress) follows(table string) bool {
	return r != nil && slices.Contains(r.Tables, table)
}

func progressName(pipeline string) string { return "_lakefeed/progress/" + folderName(pipeline) }

func readProgress(ctx context.Context, lake storage.Store, pipeline string) (*progress, error) {
	return readProgressAt(ctx, lake, progressName(pipeline))
}

func readProgressAt(ctx context.Context, lake storage.Store, name string) (*progress, error) {
	b, _, err := lake.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read progress record: %w", &LakeError{err})
	}
	r := new(progress)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read progress record in %s: %w; put back a copy of that file, or, without one, drop the slot and give the pipeline an empty lake folder, so that its tables are copied anew", lake, &hudi.CorruptError{File: name, Err: err})
	}
	return r, nil
}

func writeProgressAt(ctx context.Context, lake storage.Store, name string, r progress) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode progress record: %w", err)
	}
	if err := lake.Put(ctx, name, b); err != nil {
		return fmt.Errorf("write progress record: %w", &LakeError{err})
	}
	return nil
}

// PositionError is a source whose log is not, or no longer, the one that the lake
// was made from. Going on would lose or double changes.
type PositionError struct {
	What, WayOut string

	slot fate // of the slot, where that is what is wrong
}

// Error says what is wrong and the way out.
func (e *PositionError) Error() string { return e.What + "; " + e.WayOut }

// sameSource compares the log a position belongs to with the one we are connected to.
func sameSource(what string, had, have change.Identity) error {
	var diff []string
	note := func(name string, a, b any) {
		if a != b {
			diff = append(diff, fmt.Sprintf("%s is %v, was %v", name, b, a))
		}
	}
	note("system identifier", had.SystemID, have.SystemID)
	note("timeline", had.Timeline, have.Timeline)
	note("database", had.Database, have.Database)
	note("slot", had.Slot, have.Slot)
	if len(diff) == 0 {
		return nil
	}
	return &PositionError{
		What:   fmt.Sprintf("%s was written from another source (%s)", what, strings.Join(diff, ", ")),
		WayOut: "point the configuration at the right database, or, where the database was restored or replaced on purpose, give the pipeline an empty lake folder so that its tables are copied anew; where a service moved to another database, give that a pipeline of its own, and `lakefeed repoint` lets its tables go on",
	}
}
