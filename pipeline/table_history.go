package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// tableHistory is the states that one table shows, as its commits tell them, read from the
// newest on as far back as is asked for.
type tableHistory struct {
	name, path string
	record     *progress
	table      *hudi.Table
	states     []tableState // the newest first
	at         int          // the one that was reached
	copied     change.LSN   // the snapshot of the newest copy
	end        string       // why there is none before the last
}

// tableState is one commit: as of its instant the table shows every state of the source
// from one position up to another.
type tableState struct {
	instant  string
	from, to change.LSN
	began    change.LSN // where the commit's window begins
	first    change.LSN // where its first change commits; 0: not known
	last     change.Mark
	known    bool // last is the newest of all transactions before from
}

func (h *tableHistory) state() *tableState { return &h.states[h.at] }

// newest is up to where the table holds the source.
func (h *tableHistory) newest() change.LSN { return h.states[0].to }

// open reads the table's newest commit.
func (h *tableHistory) open(ctx context.Context, lake storage.Store) (err error) {
	h.table, err = hudi.Open(ctx, storage.Sub(lake, h.path), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return noCutYet("%s has no copy in the lake yet", h.name)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", h.name, err)
	}
	there, err := h.has(ctx, 0)
	if err != nil {
		return err
	}
	if !there {
		return noCutYet("%s has no copy in the lake yet: %s", h.name, h.end)
	}
	if had, from := h.record.Commits[h.name], h.states[0].from; from < had {
		return noCut("commits of %s were taken back: it is at %s and was at %s; `lakefeed resync` has it copied anew", h.name, from, had)
	}
	if h.copied > h.record.LSN {
		return noCutYet("%s was just copied, at %s: the other tables come there soon, and are at %s", h.name, h.copied, h.record.LSN)
	}
	return nil
}

// keep is an instant as of which the state that was reached can be read, pinned where d is
// not 0: that of its commit, or of a service that followed, where a cleaning has left that alone.
func (h *tableHistory) keep(ctx context.Context, d time.Duration) (instant string, pin *hudi.Pin, err error) {
	instant = h.state().instant
	for {
		if d == 0 {
			err = h.table.CheckAsOf(ctx, instant)
		} else {
			pin, err = h.table.Pin(ctx, instant, d)
		}
		if !errors.Is(err, hudi.ErrCleaned) {
			return instant, pin, err
		}
		served, cause := h.table.ServedAfter(ctx, instant)
		if cause != nil || served == "" {
			return instant, nil, errors.Join(err, cause)
		}
		instant = served
	}
}

// reach goes back to the newest state that begins at or before lsn.
func (h *tableHistory) reach(ctx context.Context, lsn change.LSN) error {
	for h.state().from > lsn {
		there, err := h.has(ctx, h.at+1)
		if err != nil {
			return err
		}
		if !there {
			oldest := h.state()
			return &NoCutError{
				What: fmt.Sprintf("there is no cut at or before %s in the lake: the oldest state of %s is that of %s, at %s, since %s; other tables may have it: name these; %s",
					lsn, h.name, oldest.from, oldest.instant, h.end, keepMore),
				Final: true,
			}
		}
		h.at++
	}
	return nil
}

// has reads back to state i, and reports whether there is one.
func (h *tableHistory) has(ctx context.Context, i int) (bool, error) {
	for len(h.states) <= i && h.end == "" {
		if err := h.older(ctx); err != nil {
			return false, fmt.Errorf("read the commits of %s: %w", h.name, err)
		}
	}
	return i < len(h.states), nil
}

// older reads the newest state before those that were read, or notes why there is none.
func (h *tableHistory) older(ctx context.Context) error {
	before := ""
	if n := len(h.states); n > 0 {
		before = h.states[n-1].instant
	}
	text, instant, err := h.table.ExtraBefore(ctx, CheckpointKey(h.record.Pipeline), before)
	switch {
	case errors.Is(err, storage.ErrNotExist):
		h.end = "what was before has been archived"
		return nil
	case err != nil:
		return err
	case text == "":
		h.end = "its timeline begins there"
		return nil
	}
	var c checkpoint
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("read the checkpoint of %s: %w", instant, &hudi.CorruptError{File: instant, Err: err})
	}
	if c.Source.Slot != h.record.Source.Slot { // it came through another: what that one had read is not what this one had
		c.Source.Slot, c.Last = h.record.Source.Slot, change.Mark{}
	}
	switch {
	case c.Pipeline != h.record.Pipeline || c.Table != h.name || sameSource("", c.Source, h.record.Source) != nil:
		h.end = "what was before is of another pipeline, table or source"
	case before != "" && c.Copied != h.copied:
		h.end = fmt.Sprintf("it was copied anew under the snapshot of %s, and what was before is of another copy", h.copied)
	default:
		h.copied = c.Copied
		h.add(instant, &c)
	}
	return nil
}

// add adds a commit before those that were read.
func (h *tableHistory) add(instant string, c *checkpoint) {
	s := tableState{
		instant: instant, from: c.LSN, to: c.LSN, began: c.From, first: c.First, last: c.Last,
		known: c.First != 0 && c.Last.Commit >= c.First && c.Last.Commit < c.LSN,
	}
	if n := len(h.states); n == 0 {
		// One that does not lag had no other change before the position that was recorded.
		if !slices.Contains(h.record.Aside, h.name) && h.record.Spooled[h.name] == 0 {
			s.to = max(s.to, h.record.LSN)
		}
	} else if next := h.states[n-1]; next.began == s.from {
		s.to = max(s.to, next.first)
	}
	h.states = append(h.states, s)
}
