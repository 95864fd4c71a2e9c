package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// CutOptions say which consistent cut of a pipeline's tables is wanted.
type CutOptions struct {
	Name  string // of the pipeline
	Lake  storage.Store
	Table func(*change.Table) TableOptions // as in [Options]
	// Only takes the tables that it is of: each has to be in it. nil: all that the pipeline
	// follows, but for those that show no state of the source now, as while they are copied.
	Only func(table string) bool
	// The cut is the newest, or the newest at or before LSN, or the newest of which every
	// transaction had committed by At.
	LSN change.LSN
	At  time.Time
	Pin time.Duration // pin what was found for so long; 0: not
}

// ConsistentCut is one state of the source: the instants at which tables show it.
type ConsistentCut struct {
	Pipeline string          `json:"pipeline"`
	Source   change.Identity `json:"source"`
	// LSN is the state: every transaction whose commit record starts before it, and no other.
	LSN    change.LSN `json:"lsn"`
	Asked  change.LSN `json:"asked_lsn,omitzero"`
	Time   time.Time  `json:"time,omitzero"` // when the newest transaction committed that is known to be in it
	Tables []CutTable `json:"tables"`
	// LeftOut are tables that show no state of the source now, and why.
	LeftOut map[string]string `json:"left_out,omitempty"`
	// Behind are the tables that hold less than the pipeline has read: they hold the newest cut back.
	Behind []string `json:"behind,omitempty"`
}

// CutTable is one table of a cut. As of Instant it shows each state of the source from
// From up to To.
type CutTable struct {
	Table   string     `json:"table"`
	Path    string     `json:"path"` // its folder under the lake
	Instant string     `json:"instant"`
	From    change.LSN `json:"from"`
	To      change.LSN `json:"to"`
	Pin     string     `json:"pin,omitempty"` // the id of its pin
}

// NoCutError is a cut that the lake does not have.
type NoCutError struct {
	What  string
	Final bool // waiting does not help
	Err   error
}

// Error says why, and the way out.
func (e *NoCutError) Error() string { return e.What }

// Unwrap is the cause, if there is one.
func (e *NoCutError) Unwrap() error { return e.Err }

// noCutYet is a cut that there may be later, noCut one that there will not be.
func noCutYet(format string, args ...any) error {
	return &NoCutError{What: fmt.Sprintf(format, args...)}
}

func noCut(format string, args ...any) error {
	return &NoCutError{What: fmt.Sprintf(format, args...), Final: true}
}

// keepMore is what helps where a cut is not in the lake any more.
const keepMore = "retain_commits keeps more commits, and `lakefeed cut --pin` a cut that is to stay"

// FindCut finds the instants at which the tables of a pipeline show one and the same state
// of the source, and pins them where that is asked for. It reads the lake only. A
// *[NoCutError] says that there is none, [hudi.ErrCleaned] that what it takes was cleaned away.
func FindCut(ctx context.Context, o CutOptions) (*ConsistentCut, error) {
	for try := 1; ; try++ {
		cut, err := findCut(ctx, o)
		// A pipeline that runs may have cleaned away what was found meanwhile.
		if err == nil || try == attempts || !errors.Is(err, hudi.ErrCleaned) {
			return cut, err
		}
	}
}

func findCut(ctx context.Context, o CutOptions) (*ConsistentCut, error) {
	// The record first: it tells what the tables held at least when they are looked at.
	records, err := readRecords(ctx, o.Lake, o.Name)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, noCutYet("the lake has nothing of pipeline %s yet", o.Name)
	}
	list, left, err := o.histories(ctx, records)
	if err != nil {
		return nil, err
	}
	lsn, err := o.bound(ctx, records, list)
	if err != nil {
		return nil, err
	}
	if lsn, err = meetAll(ctx, list, lsn); err != nil {
		if no, is := errors.AsType[*NoCutError](err); is && o.LSN == 0 && o.At.IsZero() {
			no.Final = false // there is one when the tables that lag have caught up
		}
		return nil, err
	}
	cut := &ConsistentCut{Pipeline: o.Name, Source: records[0].Source, LSN: lsn, Asked: o.LSN, LeftOut: left, Tables: make([]CutTable, len(list))}
	for _, h := range list {
		if h.newest() < h.record.LSN {
			cut.Behind = append(cut.Behind, h.name)
		}
		for _, m := range []change.Mark{h.state().last, h.record.Last} {
			if at := time.UnixMicro(m.Time).UTC(); m.Commit != 0 && m.Commit < lsn && at.After(cut.Time) {
				cut.Time = at
			}
		}
	}
	return cut, keepCut(ctx, list, cut, o.Pin)
}

// messagesTable is the name of the table of logical messages.
const messagesTable = "_lakefeed.messages"

// lookers is how many tables are looked at side by side.
const lookers = 8

// histories are those of all tables that the cut is of, and why some are left out.
func (o *CutOptions) histories(ctx context.Context, records []*progress) (list []*tableHistory, left map[string]string, err error) {
	why := map[string]error{}
	for _, record := range records {
		for name, note := range record.Stopped {
			if o.Only != nil && !o.Only(name) {
				continue
			}
			why[name] = noCut("%s waits for a new copy, which `lakefeed resync` makes: %s", name, note.Why)
			if note.Recopy {
				why[name] = noCutYet("%s is about to be copied anew: %s", name, note.Why)
			}
		}
	}
	all := o.candidates(records)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	errs := make([]error, len(all))
	for i, h := range all {
		g.Go(func() error {
			errs[i] = h.open(gctx, o.Lake)
			if is, _ := errors.AsType[*NoCutError](errs[i]); is == nil {
				return errs[i]
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i, h := range all {
		if errs[i] != nil {
			why[h.name] = errs[i]
		} else {
			list = append(list, h)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(why)) {
		if o.Only != nil || len(list) == 0 {
			return nil, nil, why[name]
		}
		if left == nil {
			left = map[string]string{}
		}
		left[name] = why[name].Error()
	}
	if len(list) == 0 {
		return nil, nil, noCut("pipeline %s follows no such table", o.Name)
	}
	return list, left, nil
}

// candidates are the tables that the records follow, with their folders.
func (o *CutOptions) candidates(records []*progress) []*tableHistory {
	var list []*tableHistory
	folders := map[string]string{}
	for _, record := range records {
		maps.Copy(folders, record.Folders)
		for _, name := range record.Tables {
			if o.Only == nil || o.Only(name) {
				list = append(list, &tableHistory{name: name, record: record})
			}
		}
	}
	slices.SortFunc(list, func(a, b *tableHistory) int { return strings.Compare(a.name, b.name) })
	tables := make([]*change.Table, len(list))
	for i, h := range list {
		schema, table, _ := strings.Cut(h.name, ".")
		tables[i] = &change.Table{Schema: schema, Name: table, LogOnly: h.name == messagesTable}
	}
	for i, path := range tablePaths(tables, o.Table, folders) {
		list[i].path = path
	}
	return list
}

// bound is the newest position at which the cut may be.
func (o *CutOptions) bound(ctx context.Context, records []*progress, list []*tableHistory) (change.LSN, error) {
	least := list[0]
	for _, h := range list {
		if h.newest() < least.newest() {
			least = h
		}
	}
	switch {
	case o.LSN > least.newest():
		return 0, noCutYet("the lake does not hold all before %s yet: %s is at %s", o.LSN, least.name, least.newest())
	case o.LSN != 0:
		return o.LSN, nil
	case !o.At.IsZero():
		return boundAt(ctx, records, list, o.At)
	}
	return least.newest(), nil
}

// boundAt is the newest position before which no transaction is known to have committed
// later than a time. Each slot's stream tells of its own tables' transactions alone.
func boundAt(ctx context.Context, records []*progress, list []*tableHistory, at time.Time) (change.LSN, error) {
	var all []*timeBound
	later := change.LSN(0)
	for _, record := range records {
		own := slices.DeleteFunc(slices.Clone(list), func(h *tableHistory) bool { return h.record != record })
		if len(own) == 0 {
			continue
		}
		b := &timeBound{record: record, micros: at.UnixMicro()}
		if err := b.read(ctx, own); err != nil {
			return 0, err
		}
		all = append(all, b)
		if b.later != 0 && (later == 0 || b.later < later) {
			later = b.later
		}
	}
	bound := endless
	for _, b := range all {
		// A stream that has been at rest since has nothing later before where it was read.
		if b.later == 0 && at.After(b.record.Seen) && (later == 0 || b.record.LSN < later) {
			known := time.UnixMicro(b.record.Last.Time)
			if b.record.Seen.After(known) {
				known = b.record.Seen
			}
			return 0, noCutYet("what the source committed is known up to %s: whether other transactions did by %s is known later, while the pipeline runs", known.UTC().Format(time.RFC3339Nano), at.UTC().Format(time.RFC3339Nano))
		}
		bound = min(bound, b.position())
	}
	if bound == 0 {
		return 0, noCut("what the source held at %s is not in the lake: %s; %s", at.UTC().Format(time.RFC3339Nano), list[0].end, keepMore)
	}
	return bound, nil
}

// timeBound is what the tables of one stream tell of a time.
type timeBound struct {
	record *progress
	micros int64
	later  change.LSN   // where the oldest transaction known commits that is later; 0: none is
	before []change.LSN // positions before which no transaction is later
}

func (b *timeBound) see(m change.Mark, lsn change.LSN, known bool) {
	switch {
	case m.Commit != 0 && m.Time > b.micros && (b.later == 0 || m.Commit < b.later):
		b.later = m.Commit
	case known && m.Commit != 0 && m.Time <= b.micros:
		b.before = append(b.before, lsn)
	}
}

// read reads back as far as it takes.
func (b *timeBound) read(ctx context.Context, list []*tableHistory) error {
	b.see(b.record.Last, b.record.LSN, b.record.Last.Commit < b.record.LSN)
	for _, h := range list {
		for i := 0; ; i++ {
			if more, err := h.has(ctx, i); err != nil {
				return err
			} else if !more {
				break
			}
			s := h.states[i]
			if b.see(s.last, s.from, s.known); s.known && s.last.Time <= b.micros {
				break
			}
		}
	}
	return nil
}

// position is the newest of them, 0 where there is none.
func (b *timeBound) position() (bound change.LSN) {
	if b.later == 0 { // the stream has nothing that is later, up to where it was read
		return b.record.LSN
	}
	for _, lsn := range b.before {
		if lsn <= b.later {
			bound = max(bound, lsn)
		}
	}
	return bound
}

// meetAll goes back from a position to the newest one that every table shows.
func meetAll(ctx context.Context, list []*tableHistory, lsn change.LSN) (change.LSN, error) {
	for again := true; again; {
		again = false
		for _, h := range list {
			if err := h.reach(ctx, lsn); err != nil {
				return 0, err
			}
			if s := h.state(); s.to < lsn {
				lsn, again = s.to, true
			}
		}
	}
	return lsn, nil
}

// keepCut fills in the tables, sees that each can be read, and pins them where d is not 0.
func keepCut(ctx context.Context, list []*tableHistory, cut *ConsistentCut, d time.Duration) error {
	pins := make([]*hudi.Pin, len(list))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for i, h := range list {
		g.Go(func() (err error) {
			instant := ""
			if instant, pins[i], err = h.keep(gctx, d); errors.Is(err, hudi.ErrCleaned) {
				return &NoCutError{What: fmt.Sprintf("the cut at %s is not in the lake any more: %s: %v; %s", cut.LSN, h.name, err, keepMore), Final: true, Err: err}
			}
			cut.Tables[i] = CutTable{Table: h.name, Path: h.path, Instant: instant, From: h.state().from, To: h.state().to}
			if pins[i] != nil {
				cut.Tables[i].Pin = pins[i].Info().ID
			}
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		return nil
	}
	for _, p := range pins {
		if p != nil {
			err = errors.Join(err, p.Release(context.WithoutCancel(ctx)))
		}
	}
	return err
}
