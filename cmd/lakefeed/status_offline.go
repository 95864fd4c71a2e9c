package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
)

// stopped is the state of a pipeline, and of its tables, that nobody runs.
const stopped pipeline.State = "not running"

// slotReport is the source's side of a pipeline that nobody runs.
type slotReport struct {
	*change.SlotState
	LagBytes int64  `json:"lag_bytes"` // log written behind what was confirmed; -1 unknown
	Problem  string `json:"problem,omitempty"`
	figures  *pipeline.SlotStatus
}

// String says it for people.
func (s *slotReport) String() string {
	switch {
	case s.Problem != "":
		return "  source: " + s.Problem
	case s.Lost:
		return fmt.Sprintf("  source: slot %s has lost its log (%s): the tables have to be copied anew", s.Name, s.Why)
	}
	text := fmt.Sprintf("  source: slot %s is confirmed up to %s; %s of log came since, and the source keeps it until the pipeline runs", s.Name, s.Confirmed, figure.Bytes(s.LagBytes))
	if s.figures != nil && (s.figures.Safe >= 0 || s.figures.IdleTimeout > 0) {
		text += "\n  source: " + s.figures.Text()
	}
	return text
}

// offline tells of a pipeline that nobody runs.
func offline(ctx context.Context, p *config.Pipeline, lake storage.Store) (*statusReport, error) {
	r := &statusReport{Status: pipeline.Status{Pipeline: p.Name, State: stopped, SlotLag: -1}}
	slots, _, err := pipeline.SlotsOf(ctx, lake, p.Name)
	if err != nil {
		return r, err
	}
	for _, slot := range slots[1:] {
		r.Others = append(r.Others, askSlot(ctx, p, slot))
	}
	r.Slot = askSlot(ctx, p, pipeline.DefaultSlot)
	if r.Slot.Problem == "" {
		r.SlotLag, r.Status.Slot = r.Slot.LagBytes, r.Slot.figures
	}
	err = eachTable(ctx, lake, "", 0, func(folder string) {
		if t := offlineTable(ctx, p.Name, lake, folder); t != nil {
			t.Quarantined = countQuarantined(ctx, lake, pipeline.QuarantineOf(folder, pipeline.ShardOf(p.Name)))
			r.Tables = append(r.Tables, *t)
		}
	})
	if err != nil {
		return r, err
	}
	stops, err := pipeline.ReadStopped(ctx, lake, p.Name)
	if err != nil {
		r.Error = err.Error()
	}
	r.Tables = withStops(r.Tables, stops)
	orders, err := pipeline.ReadOrders(ctx, lake, p.Name)
	if err != nil {
		r.Error = err.Error()
	}
	for i := range r.Tables {
		if o := orders[r.Tables[i].Table]; o.Paused || o.Removed || o.Resync != 0 || o.Leaves != nil {
			r.Tables[i].Note = o.String()
		}
	}
	return r, nil
}

// withStops adds what is known of the tables that had stopped when the process ended;
// one may have no folder yet.
func withStops(tables []pipeline.TableStatus, stops map[string]pipeline.Stop) []pipeline.TableStatus {
	for i := range tables {
		if stop, ok := stops[tables[i].Table]; ok {
			tables[i].State, tables[i].Since, tables[i].Error = pipeline.Failed, stop.Since, stop.Why
			delete(stops, tables[i].Table)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stops)) {
		tables = append(tables, pipeline.TableStatus{Table: name, State: pipeline.Failed, Since: stops[name].Since, Error: stops[name].Why})
	}
	return tables
}

func askSlot(ctx context.Context, p *config.Pipeline, slot string) *slotReport {
	r := &slotReport{LagBytes: -1}
	c, err := postgres.Open(ctx, p.SlotSources(nil)(slot, nil))
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	defer func() { _ = c.Close(ctx) }() // it only asked
	if r.SlotState, err = c.Slot(ctx); err != nil {
		r.Problem = err.Error()
		return r
	}
	if r.SlotState == nil {
		r.Problem = "there is no slot " + postgres.SlotName(pipeline.StreamName(p.Name, slot))
		return r
	}
	if f, err := c.Figures(ctx); err == nil && f != nil {
		r.LagBytes, r.figures = f.Lag(), &pipeline.SlotStatus{SlotFigures: f, Lag: f.Lag(), Kept: f.Kept(), LagSeconds: -1, LimitIn: -1, BudgetIn: -1, Step: pipeline.StepNone}
	}
	return r
}

// eachTable calls found with every folder under folder that holds a Hudi table.
func eachTable(ctx context.Context, lake storage.Store, folder string, depth int, found func(string)) error {
	dirs, err := lake.Dirs(ctx, folder)
	if err != nil {
		return fmt.Errorf("look into the lake: %w", err)
	}
	if slices.Contains(dirs, ".hoodie") {
		found(folder)
		return nil
	}
	const deep = 6 // folders above a table; path of a table entry may have some
	for _, d := range dirs {
		if d == "_lakefeed" {
			d = "_lakefeed/messages" // the one place in there with tables
		}
		if depth >= deep {
			continue
		}
		if err := eachTable(ctx, lake, path.Join(folder, d), depth+1, found); err != nil {
			return err
		}
	}
	return nil
}

// lakeCheckpoint is what a commit's checkpoint says of its table.
type lakeCheckpoint struct {
	Pipeline string     `json:"pipeline"`
	Table    string     `json:"table"`
	LSN      change.LSN `json:"lsn"`
	Key      []string   `json:"key"`
}

// readCheckpoint is the newest checkpoint that a pipeline has in a table, and its instant; nil where it has none.
func readCheckpoint(ctx context.Context, t *hudi.Table, name string) (*lakeCheckpoint, string, error) {
	text, instant, err := t.LastExtra(ctx, pipeline.CheckpointKey(name))
	if err != nil || text == "" {
		return nil, "", err
	}
	c := new(lakeCheckpoint)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return nil, "", fmt.Errorf("read checkpoint in commit %s: %w", instant, err)
	}
	return c, instant, nil
}

// offlineTable is the status of a table as its commits tell it, nil for another pipeline's.
func offlineTable(ctx context.Context, name string, lake storage.Store, folder string) *pipeline.TableStatus {
	t, err := hudi.Open(ctx, storage.Sub(lake, folder), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return nil
	}
	if err != nil {
		return &pipeline.TableStatus{Table: "?", Path: folder, State: stopped, Error: err.Error()}
	}
	s := &pipeline.TableStatus{Table: "?", Path: folder, Type: string(t.Type()), State: stopped}
	c, instant, err := readCheckpoint(ctx, t, name)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	if c == nil || c.Pipeline != name {
		return nil
	}
	s.Table, s.Key, s.Checkpoint, s.Instant = c.Table, c.Key, c.LSN.String(), instant
	if at, err := timeline.ParseTime(instant); err == nil {
		s.CommitTime = at
	}
	return s
}
