package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
)

// SlotState is one of several slots in a [Status].
type SlotState struct {
	Slot     string      `json:"slot"`
	State    State       `json:"state"`
	Tables   int         `json:"tables"`
	Read     string      `json:"read_lsn"`
	Acked    string      `json:"acked_lsn"`
	SlotLag  int64       `json:"slot_lag_bytes"` // -1 unknown
	Governor *SlotStatus `json:"governor,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// Status is that of all slots together: positions are the lowest of theirs, the governor's
// figures those of the slot for which the source keeps most.
func (g *Group) Status() Status {
	g.mu.Lock()
	streams, stays, failed := slices.Clone(g.streams), maps.Clone(g.stays), g.err
	g.mu.Unlock()
	out := Status{Pipeline: g.o.Name, SlotLag: -1}
	if failed != nil {
		out.Error = failed.Error()
	}
	read, acked := endless, endless
	for _, s := range streams {
		if s.pipeline == nil {
			continue
		}
		st := s.pipeline.Status()
		g.mu.Lock()
		ended := s.err
		g.mu.Unlock()
		if _, ofTables := errors.AsType[TableErrors](ended); ended != nil && !ofTables { // else they show there
			st.State, st.Error = Failed, ended.Error()
		}
		read, acked = min(read, lsnOf(st.Read)), min(acked, lsnOf(st.Acked))
		out.add(s.slot, &st, stays)
	}
	out.State = cmp.Or(out.State, Waiting)
	if len(out.Slots) > 0 {
		out.Read, out.Acked = read.String(), acked.String()
	}
	slices.SortFunc(out.Tables, func(a, b TableStatus) int { return cmp.Compare(a.Table, b.Table) })
	return out
}

func lsnOf(text string) change.LSN {
	lsn, _ := change.ParseLSN(text) // it is ours
	return lsn
}

// add adds one slot's status to that of all.
func (s *Status) add(slot string, one *Status, stays map[string]string) {
	s.Slots = append(s.Slots, SlotState{Slot: slot, State: one.State, Tables: len(one.Tables), Read: one.Read, Acked: one.Acked, SlotLag: one.SlotLag, Governor: one.Slot, Error: one.Error})
	if slot == DefaultSlot || s.Source == (change.Identity{}) {
		s.Source = one.Source
	}
	if one.Error != "" && s.Error == "" {
		s.Error = "slot " + slot + ": " + one.Error
	}
	if kept(one.Slot) > kept(s.Slot) || s.Slot == nil {
		s.Slot = one.Slot
	}
	if s.SlotLag = max(s.SlotLag, one.SlotLag); len(one.Tables) > 0 || one.State == Failed {
		s.State = busier(s.State, one.State)
	}
	s.Commits, s.Rows, s.Spilled, s.Spooled = s.Commits+one.Commits, s.Rows+one.Rows, s.Spilled+one.Spilled, s.Spooled+one.Spooled
	for _, t := range one.Tables {
		t.Slot = slot
		t.Note = cmp.Or(t.Note, stays[t.Table])
		s.Tables = append(s.Tables, t)
	}
}

func kept(s *SlotStatus) int64 {
	if s == nil {
		return -1
	}
	return s.Kept
}

// Hold is [Pipeline.Hold] of all slots: none reads on until the cut.
func (g *Group) Hold(ctx context.Context) (change.LSN, error) {
	streams, err := g.running()
	if err != nil {
		return 0, err
	}
	at := make([]change.LSN, len(streams))
	all, ctx := errgroup.WithContext(ctx)
	for i, s := range streams {
		all.Go(func() (err error) {
			at[i], err = s.pipeline.Hold(ctx)
			return err
		})
	}
	err = all.Wait()
	return slices.Max(at), err
}

// Cut is [Pipeline.Cut] of all slots, which have one log.
func (g *Group) Cut(ctx context.Context, lsn change.LSN) (map[string]string, error) {
	streams, err := g.running()
	if err != nil {
		return nil, err
	}
	instants := make([]map[string]string, len(streams))
	all, ctx := errgroup.WithContext(ctx)
	for i, s := range streams {
		all.Go(func() (err error) {
			instants[i], err = s.pipeline.Cut(ctx, lsn)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, some := range instants {
		maps.Copy(out, some)
	}
	return out, nil
}

// running are the streams; an error where one does not run: its tables would be missing.
func (g *Group) running() ([]*stream, error) {
	streams := g.all()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range streams {
		if s.err != nil {
			return nil, fmt.Errorf("slot %s has stopped: %w", s.slot, s.err)
		}
		if s.pipeline == nil {
			streams = nil
			break
		}
	}
	if len(streams) == 0 {
		return nil, fmt.Errorf("pipeline %s has not started yet", g.o.Name)
	}
	return streams, nil
}

// Instruct is [Pipeline.Instruct] of the slot that has the table.
func (g *Group) Instruct(ctx context.Context, table string, verb Verb) (Order, error) {
	p, err := g.streamFor(table, verb)
	if err != nil {
		return Order{}, err
	}
	return p.Instruct(ctx, table, verb)
}

// streamFor is the pipeline of the slot that has a table; where none has, one that says so.
func (g *Group) streamFor(table string, verb Verb) (*Pipeline, error) {
	streams := g.all()
	if len(streams) == 0 || streams[0].pipeline == nil {
		return nil, fmt.Errorf("pipeline %s has not started yet", g.o.Name)
	}
	for _, s := range streams {
		if !s.pipeline.knows(table, verb) {
			continue
		}
		g.mu.Lock()
		ended := s.err
		g.mu.Unlock()
		if ended != nil {
			return nil, fmt.Errorf("%s %s: its slot %s has stopped, and goes on with the next start of the process: %w", verb, table, s.slot, ended)
		}
		return s.pipeline, nil
	}
	return streams[0].pipeline, nil
}
