package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
)

// checkSlots looks at the slots beside the default one, where there are some, and says what
// the next start does about tables that belong to another slot than they are in. Tables are
// those of the source; lake is nil where it could not be opened.
func checkSlots(ctx context.Context, p *config.Pipeline, lake storage.Store, tables [][2]string, r *checkReport) error {
	slots, has := []string{pipeline.DefaultSlot}, map[string]string{}
	if lake != nil {
		var err error
		if slots, has, err = pipeline.SlotsOf(ctx, lake, p.Name); err != nil {
			r.addError("", err)
			return nil
		}
	}
	named := p.Slots.Names()
	for _, name := range named {
		if !slices.Contains(slots, name) {
			slots = append(slots, name)
		}
	}
	missing := 0
	for _, slot := range slots[1:] {
		there, err := checkSlot(ctx, p, lake, slot, r)
		if err != nil {
			return err
		}
		if !there && slices.Contains(named, slot) {
			missing++
		}
	}
	if missing > 0 && r.errors() == 0 {
		if err := checkRoom(ctx, p, missing, r); err != nil {
			return err
		}
	}
	checkMoves(p, named, slots[1:], has, tables, r)
	return nil
}

// checkSlot looks at one slot beside the default one, and reports whether the source has it.
func checkSlot(ctx context.Context, p *config.Pipeline, lake storage.Store, slot string, r *checkReport) (there bool, err error) {
	o := p.SlotSources(nil)(slot, nil)
	problems, err := postgres.CheckSlot(ctx, o)
	if err != nil {
		return false, err
	}
	for _, problem := range problems {
		if !slices.ContainsFunc(r.Findings, func(f finding) bool { return f.What == problem.What }) {
			r.add(severityOf(problem), problem.Table, problem.Statement, "%s", problem.What)
		}
	}
	source, err := postgres.Open(ctx, o)
	if err != nil {
		return false, nil // said before
	}
	defer func() { _ = source.Close(ctx) }() // it only asked
	if lake != nil && r.errors() == 0 {
		if err := pipeline.CheckPosition(ctx, pipeline.StreamName(p.Name, slot), source, lake); err != nil {
			r.addError("", err)
		}
	}
	s, err := source.Slot(ctx)
	return s != nil, err
}

func severityOf(p postgres.Problem) severity {
	if p.Severity == postgres.Error {
		return mustMend
	}
	return heed
}

// checkRoom sees whether the source has room for the slots that are to be made.
func checkRoom(ctx context.Context, p *config.Pipeline, missing int, r *checkReport) error {
	source, err := postgres.Open(ctx, p.Source(nil))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(ctx) }() // it only asked
	if s, err := source.Slot(ctx); err != nil {
		return err
	} else if s == nil {
		missing++ // the default one
	}
	slots, senders, err := source.Room(ctx)
	if err != nil {
		return err
	}
	need := missing + 1 // a copy beside the stream, or a move of tables, makes one for a moment
	if free := min(slots, senders); free < need {
		r.add(mustMend, "", "ALTER SYSTEM SET max_replication_slots = ...; ALTER SYSTEM SET max_wal_senders = ...; -- and restart the server",
			"%s are to be made, and one more for a moment now and then; the server has room for %d (max_replication_slots) and %d (max_wal_senders)", plural(int64(missing), "slot"), slots, senders)
	}
	return nil
}

// checkMoves says which tables the next start moves, and which slots it drops.
func checkMoves(p *config.Pipeline, named, slots []string, has map[string]string, tables [][2]string, r *checkReport) {
	used, left := map[string]bool{}, map[string][]string{}
	for _, t := range tables {
		if !p.Match(t[0], t[1]) {
			continue
		}
		table := t[0] + "." + t[1]
		wanted := p.Slots.Of(t[0], t[1])
		used[wanted] = true
		if is := has[table]; is != "" && is != wanted && p.Slots.Measured == 0 {
			left[is] = append(left[is], table)
			r.add(note, table, "", "goes from slot %s to slot %s at the next start: at one position of the log, without a new copy, once everything of it is in the lake", is, wanted)
		}
	}
	for _, slot := range slots {
		switch {
		case slices.Contains(named, slot):
			if p.Slots.Measured == 0 && !used[slot] {
				r.add(heed, "", "", "slot %s has no table: none that the pipeline takes matches its entry", slot)
			}
		case len(left[slot]) > 0 || p.Slots.Measured > 0:
			r.add(heed, "", "", "slot %s (%s) is named by the configuration no more: the next start moves its tables, and drops it once it has none", slot, postgres.SlotName(pipeline.StreamName(p.Name, slot)))
		default:
			r.add(note, "", "", "slot %s (%s) is named by the configuration no more, and is dropped at the next start", slot, postgres.SlotName(pipeline.StreamName(p.Name, slot)))
		}
	}
	if p.Slots.Measured > 0 && len(has) > 0 {
		counts := map[string]int{}
		for _, slot := range has {
			counts[slot]++
		}
		var parts []string
		for _, slot := range slices.Sorted(maps.Keys(counts)) {
			parts = append(parts, slot+": "+plural(int64(counts[slot]), "table"))
		}
		r.add(note, "", "", "tables by slot, as they were measured when their number was last changed: %s", strings.Join(parts, ", "))
	}
}
