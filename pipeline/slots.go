package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// The tables of a pipeline may come through several slots of the source, so that one decoder
// of the server's does not bound them all. Each slot has a stream of its own, a [Pipeline],
// with its progress record, orders and spool; the record <lake>/_lakefeed/slots/<pipeline>
// says which slot has which table. See docs/adr/0014-several-slots.md.

// DefaultSlot is the slot of the tables that no other takes. Its stream has the names of a
// pipeline with one slot.
const DefaultSlot = "default"

// StreamName names what is one slot's own: its publications, and its records in the lake.
func StreamName(pipeline, slot string) string {
	if slot == "" || slot == DefaultSlot {
		return pipeline
	}
	return pipeline + "." + slot
}

// part is what the stream of one slot shares with those of the others.
type part struct {
	slot    string
	lock    *held               // of the pipeline
	folders map[string]string   // of the tables of all slots
	taken   map[string]handover // tables that other slots have left to it
}

// key names what is the stream's own in the lake.
func (o *Options) key() string {
	if o.part == nil {
		return o.Name
	}
	return StreamName(o.Name, o.part.slot)
}

func (o *Options) knownFolders() map[string]string {
	folders := map[string]string{}
	if o.part != nil {
		maps.Copy(folders, o.part.folders)
	}
	return folders
}

// slotRecord is which slot has which table.
type slotRecord struct {
	Measured int                 `json:"measured,omitempty"` // among so many the tables were divided by what was written to them; 0: by hand
	Slots    []string            `json:"slots"`              // that the source may have, but for the default one
	Tables   map[string]string   `json:"tables"`             // slots, by the source name of the table
	Taken    map[string]handover `json:"taken,omitempty"`    // how tables came to the slots that have them
}

// handover is a table that one slot has left to another: the lake holds every change of it
// before At, and the other's publication has had it since before the first transaction
// began that commits at or behind At.
type handover struct {
	From      string           `json:"from"` // slot
	At        change.LSN       `json:"at"`
	Had       change.LSN       `json:"had"` // what the table's newest commit covered
	Published change.Published `json:"published"`
}

func slotsName(pipeline string) string { return "_lakefeed/slots/" + folderName(pipeline) }

// readSlots is the record, nil where the pipeline never had several slots.
func readSlots(ctx context.Context, lake storage.Store, pipeline string) (*slotRecord, error) {
	b, _, err := lake.Get(ctx, slotsName(pipeline))
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which slot has which table: %w", &LakeError{err})
	}
	r := new(slotRecord)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read which slot has which table: %w; put back a copy of that file", &hudi.CorruptError{File: slotsName(pipeline), Err: err})
	}
	if r.Tables == nil {
		r.Tables = map[string]string{}
	}
	if r.Taken == nil {
		r.Taken = map[string]handover{}
	}
	return r, nil
}

func (r *slotRecord) write(ctx context.Context, lake storage.Store, pipeline string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode which slot has which table: %w", err)
	}
	if err := lake.Put(ctx, slotsName(pipeline), b); err != nil {
		return fmt.Errorf("note which slot has which table: %w", &LakeError{err})
	}
	return nil
}

// slots are all that the source may have, the default one first.
func (r *slotRecord) slots() []string {
	all := []string{DefaultSlot}
	if r != nil {
		all = append(all, r.Slots...)
	}
	return all
}

// Divided reports whether a pipeline has, or had, several slots: it is run as a [Group] then.
func Divided(ctx context.Context, lake storage.Store, pipeline string) (bool, error) {
	r, err := readSlots(ctx, lake, pipeline)
	return r != nil, err
}

// SlotsOf are the slots that a pipeline may have in its source, and the tables of each.
func SlotsOf(ctx context.Context, lake storage.Store, pipeline string) (slots []string, tables map[string]string, err error) {
	r, err := readSlots(ctx, lake, pipeline)
	if err != nil || r == nil {
		return []string{DefaultSlot}, nil, err
	}
	return r.slots(), r.Tables, nil
}

// eachStream calls fn with the name of each stream that a pipeline has in the lake.
func eachStream(ctx context.Context, lake storage.Store, pipeline string, fn func(key string) error) error {
	r, err := readSlots(ctx, lake, pipeline)
	if err != nil {
		return err
	}
	for _, slot := range r.slots() {
		if err := fn(StreamName(pipeline, slot)); err != nil {
			return err
		}
	}
	return nil
}

// readRecords are the progress records of a pipeline's streams that have one, the default
// slot's first. A table that has just been moved may be in two: it is left to one of them.
func readRecords(ctx context.Context, lake storage.Store, pipeline string) (records []*progress, err error) {
	slots, err := readSlots(ctx, lake, pipeline)
	if err != nil {
		return nil, err
	}
	bySlot := map[string]*progress{}
	for _, slot := range slots.slots() {
		r, err := readProgress(ctx, lake, StreamName(pipeline, slot))
		if err != nil {
			return nil, err
		}
		if r != nil && r.LSN != 0 {
			bySlot[slot] = r
			records = append(records, r)
		}
	}
	if slots == nil {
		return records, nil
	}
	for table, slot := range slots.Tables {
		if !bySlot[slot].has(table) {
			continue // the one that had it before tells of it still
		}
		for other, r := range bySlot {
			if other != slot {
				r.Tables = slices.DeleteFunc(r.Tables, func(t string) bool { return t == table })
				delete(r.Stopped, table)
			}
		}
	}
	return records, nil
}

// streamOf is the name of the stream that has a table, or would take it.
func streamOf(ctx context.Context, lake storage.Store, pipeline, table string) (string, error) {
	r, err := readSlots(ctx, lake, pipeline)
	if err != nil || r == nil {
		return pipeline, err
	}
	if slot, ok := r.Tables[table]; ok {
		return StreamName(pipeline, slot), nil
	}
	for _, slot := range r.slots() { // it came while the pipeline ran
		key := StreamName(pipeline, slot)
		record, err := readProgress(ctx, lake, key)
		if err != nil {
			return "", err
		}
		orders, err := readOrders(ctx, lake, key)
		if err != nil {
			return "", err
		}
		if _, ordered := orders[table]; ordered || record.has(table) {
			return key, nil
		}
	}
	return pipeline, nil
}

// has reports whether a record knows a table as one of its own.
func (r *progress) has(table string) bool {
	if r == nil {
		return false
	}
	_, stopped := r.Stopped[table]
	return stopped || r.Commits[table] != 0 || r.follows(table)
}

// Slots says how a pipeline's tables are divided over slots.
type Slots struct {
	// Measured is among how many slots tables are divided by how much was written to them; 0: by Named.
	Measured int
	// Named are the slots beside the default one: a table belongs to the first that matches it.
	Named []NamedSlot
}

// NamedSlot is a slot and its tables.
type NamedSlot struct {
	Name  string
	Match func(schema, table string) bool
}

// None reports whether there is one slot for all tables.
func (s Slots) None() bool { return s.Measured == 0 && len(s.Named) == 0 }

// Names are the slots beside the default one.
func (s Slots) Names() (names []string) {
	for _, n := range s.Named {
		names = append(names, n.Name)
	}
	for i := 2; i <= s.Measured; i++ {
		names = append(names, fmt.Sprintf("s%d", i))
	}
	return names
}

// Of is the slot that a table belongs to by its name.
func (s Slots) Of(schema, table string) string {
	for _, n := range s.Named {
		if n.Match(schema, table) {
			return n.Name
		}
	}
	return DefaultSlot
}

// divide spreads tables over slots by how much was written to each: the busiest first, each
// to the slot that has the least so far. Tables that are in place have their slot already.
func divide(tables []string, rates map[string]int64, slots []string, place map[string]string) {
	load := map[string]int64{}
	for table, slot := range place {
		load[slot] += rates[table] + 1
	}
	tables = slices.Clone(tables)
	slices.SortFunc(tables, func(a, b string) int {
		if rates[a] != rates[b] {
			return -cmp.Compare(rates[a], rates[b])
		}
		return cmp.Compare(a, b)
	})
	for _, table := range tables {
		if place[table] != "" {
			continue
		}
		least := slices.MinFunc(slots, func(a, b string) int { return cmp.Compare(load[a], load[b]) })
		place[table] = least
		load[least] += rates[table] + 1
	}
}
