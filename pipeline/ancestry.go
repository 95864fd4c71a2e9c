package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"lakefeed/change"
)

// A source that was promoted, or restored to a point in time, goes on along another timeline:
// what the earlier one holds behind the place where it was left does not exist for it. A table
// that holds nothing from there on goes on exactly, from that place; one that does is ahead of
// its source, and only a new copy brings the two together.

// ancestry is the log that we are connected to: its name, and those that it goes back to.
type ancestry struct {
	now  change.Identity
	left []change.Branch
}

// readAncestry reads where the source comes from. It asks only where there is something to ask.
func readAncestry(ctx context.Context, source Source) (ancestry, error) {
	id, err := source.Identity(ctx)
	if err != nil {
		return ancestry{}, fmt.Errorf("identify source: %w", err)
	}
	h := ancestry{now: id}
	if id.Timeline > 1 {
		if h.left, err = source.History(ctx); err != nil {
			return h, err
		}
	}
	return h, nil
}

// endless is the end of what a log shares with itself.
const endless = change.LSN(math.MaxUint64)

// shared is up to where the log that a position belongs to is the one that we are connected
// to. A log that is no part of its history is refused; what names who has the position.
func (h *ancestry) shared(what string, had change.Identity) (change.LSN, error) {
	earlier := had
	earlier.Timeline = h.now.Timeline
	if had == h.now || earlier != h.now {
		return endless, sameSource(what, had, h.now)
	}
	i := slices.IndexFunc(h.left, func(b change.Branch) bool { return b.Timeline == had.Timeline })
	if i < 0 {
		return 0, &PositionError{
			What: fmt.Sprintf("%s follows timeline %d of the source, and the server is on timeline %d, which does not come from it: it is a former primary, or was restored from a backup of before a promotion",
				what, had.Timeline, h.now.Timeline),
			WayOut: "point the configuration at the server that was promoted, or, where this one was put in its place on purpose, drop the slot and give the pipeline an empty lake folder so that its tables are copied anew",
		}
	}
	return h.left[i].At, nil
}

// rebase brings the progress record to the log that we are connected to. What it says of
// places that this log does not have means the place where the two part.
func (h *ancestry) rebase(record *progress, what string) error {
	end, err := h.shared(what, record.Source)
	if err != nil || end == endless {
		return err
	}
	if record.LSN > end {
		record.LSN, record.Seen = end, time.Time{}
	}
	if record.Last.Commit >= end {
		record.Last = change.Mark{} // the tables say what they were written from
	}
	for _, places := range []map[string]change.LSN{record.Commits, record.Spooled} {
		for table, at := range places {
			places[table] = min(at, end)
		}
	}
	return nil
}

// checkAhead brings the tables to the log that we are connected to, and stops those that hold,
// or may hold, what is not in it.
func (p *Pipeline) checkAhead() {
	for _, t := range p.targets {
		if t.at.LSN == 0 {
			continue
		}
		end, err := p.past.shared(t.name, t.at.Source)
		if err != nil { // said already, by its opening
			continue
		}
		held := t.at.holds()
		if n := len(t.segments); n > 0 {
			if spooled, err := p.past.shared(t.name, t.spooledSource); err == nil && t.segments[n-1].to > spooled {
				held, end = max(held, t.segments[n-1].to), min(end, spooled)
			}
		}
		if end == endless {
			continue
		}
		t.had, t.safe = min(t.had, end), min(t.safe, end)
		if t.shorten(end); held <= end {
			continue
		}
		t.at.Last, t.spooledLast = change.Mark{}, change.Mark{}
		if !t.failed() && t.recopy == nil {
			p.fail(t, p.ahead(t, held, end))
		}
	}
}

// ahead is the error of a table that holds, or may hold, what is not in the source.
func (p *Pipeline) ahead(t *target, held, end change.LSN) error {
	return anew("the lake is ahead of the database: %s was written with changes up to %s, and the server, which was promoted or restored, has the log of before only up to %s (it is on timeline %d now)",
		t.name, held, end, p.source.Timeline)
}

// meetLog is checkAhead of a table that is opened later: what its newest commit says may be of the log before.
func (p *Pipeline) meetLog(t *target) error {
	if t.at.LSN == 0 {
		return nil
	}
	end, err := p.past.shared(t.name, t.at.Source)
	if err != nil || end == endless {
		return nil //nolint:nilerr // its opening has said it
	}
	if held := t.at.holds(); held > end {
		return p.ahead(t, held, end)
	}
	t.shorten(end)
	return nil
}

// shorten lets a table's checkpoint, and its quarantine's, end where the log that we are connected to parts
// from the one that they belong to.
func (t *target) shorten(end change.LSN) {
	t.at.LSN = min(t.at.LSN, end)
	t.quarantine.shorten(end)
}

// reads reports whether a log is ours, or one that ours comes from.
func (p *Pipeline) reads(log change.Identity) bool {
	_, err := p.past.shared("", log)
	return err == nil
}

// holds is the place behind all that a table can hold: its newest transaction's commit, or
// the snapshot that it was copied under.
func (c *checkpoint) holds() change.LSN {
	if c.Last.Commit == 0 {
		return cmp.Or(c.Copied, c.LSN)
	}
	return max(c.Last.Commit+1, c.Copied)
}
