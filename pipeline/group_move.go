package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lakefeed/change"
)

// arrange opens the source through every slot, moves tables to the slots that they belong
// to, lets go of slots that have none any more, and makes the streams.
func (g *Group) arrange(ctx context.Context, lock *held) error {
	record, err := readSlots(ctx, g.o.Lake, g.o.Name)
	if err != nil {
		return err
	}
	m := &mover{g: g, lock: lock, records: map[string]*progress{}}
	before, err := readProgress(ctx, g.o.Lake, g.o.Name)
	if err != nil {
		return err
	}
	// Else the lake is to come to a position, and nothing is to be changed on the way.
	m.moves = g.o.Until == 0 || record == nil && before == nil
	if record == nil {
		record = &slotRecord{Slots: []string{}, Tables: map[string]string{}, Taken: map[string]handover{}}
	}
	named := g.o.Slots.Names()
	for _, slot := range named {
		if m.moves && !slices.Contains(record.Slots, slot) {
			record.Slots = append(record.Slots, slot)
		}
	}
	g.mu.Lock()
	g.record, g.streams = record, nil
	clear(g.stays)
	g.mu.Unlock()
	if m.source, err = g.o.Open(ctx, DefaultSlot, nil); err != nil {
		return err
	}
	defer func() { _ = m.source.Close(context.WithoutCancel(ctx)) }() // it has only looked
	if err := m.look(ctx); err != nil {
		return err
	}
	if err := g.openStreams(ctx, record.slots()); err != nil {
		return err
	}
	if m.moves {
		if err := m.move(ctx); err != nil {
			return err
		}
		if err := m.moveSnapshots(ctx); err != nil {
			return err
		}
		if err := m.release(ctx, named); err != nil {
			return err
		}
	}
	return g.makeStreams(ctx, lock)
}

// openStreams opens the source through each of the slots.
func (g *Group) openStreams(ctx context.Context, slots []string) error {
	for _, slot := range slots {
		source, err := g.o.Open(ctx, slot, g.mine(slot))
		if err != nil {
			return err
		}
		g.mu.Lock()
		g.streams = append(g.streams, &stream{slot: slot, source: source})
		g.mu.Unlock()
	}
	return nil
}

// makeStreams makes the pipelines that run.
func (g *Group) makeStreams(ctx context.Context, lock *held) error {
	folders, err := ReadFolders(ctx, g.o.Lake, g.o.Name)
	if err != nil {
		return err
	}
	var streams []*stream
	for _, s := range g.all() {
		o := g.options(s, lock)
		maps.Copy(o.part.folders, folders)
		p, err := New(o)
		if err != nil {
			return err
		}
		streams = append(streams, &stream{slot: s.slot, source: s.source, pipeline: p})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams = streams
	return nil
}

// mover brings tables to their slots, while nothing runs.
type mover struct {
	g       *Group
	lock    *held
	moves   bool                 // tables may be moved, and slots made and dropped
	source  SlotSource           // which reads no log
	tables  []*change.Table      // all that the configuration takes
	wanted  map[string]string    // the slots that they belong to by the configuration
	records map[string]*progress // of the slots
}

// look finds out which tables there are, which slot has each and which is to have it.
func (m *mover) look(ctx context.Context) (err error) {
	if _, err := m.source.Identity(ctx); err != nil { // a source learns by it what it is
		return fmt.Errorf("identify source: %w", err)
	}
	if m.tables, err = m.source.Tables(ctx); err != nil {
		return fmt.Errorf("list tables of the source: %w", err)
	}
	m.tables = slices.DeleteFunc(m.tables, func(t *change.Table) bool { return t.LogOnly })
	if len(m.tables) == 0 {
		return ErrNoTables
	}
	r := m.g.record
	for _, slot := range r.slots() {
		record, err := readProgress(ctx, m.g.o.Lake, StreamName(m.g.o.Name, slot))
		if err != nil {
			return err
		}
		m.records[slot] = record
		for _, t := range m.tables {
			if name := t.String(); r.Tables[name] == "" && record.has(name) {
				r.Tables[name] = slot // it came while the pipeline ran, or before it had several
			}
		}
	}
	if err := m.want(ctx); err != nil {
		return err
	}
	for name, slot := range m.wanted {
		if r.Tables[name] == "" && slices.Contains(r.slots(), slot) {
			r.Tables[name] = slot
		}
	}
	maps.DeleteFunc(r.Taken, func(name string, _ handover) bool { return m.records[r.Tables[name]].has(name) }) // it has come there
	if !m.moves {
		return nil
	}
	r.Measured = m.g.o.Slots.Measured
	return r.write(ctx, m.g.o.Lake, m.g.o.Name)
}

// want finds which slot each table belongs to. Where that is measured, a table stays where
// it is until the number of slots is another.
func (m *mover) want(ctx context.Context) error {
	m.wanted = map[string]string{}
	slots := m.g.o.Slots
	if slots.Measured == 0 {
		for _, t := range m.tables {
			m.wanted[t.String()] = slots.Of(t.Schema, t.Name)
		}
		return nil
	}
	var names []string
	for _, t := range m.tables {
		names = append(names, t.String())
		if has := m.g.record.Tables[t.String()]; has != "" && m.g.record.Measured == slots.Measured {
			m.wanted[t.String()] = has
		}
	}
	rates, err := m.source.Rates(ctx)
	if err != nil {
		return err
	}
	divide(names, rates, append([]string{DefaultSlot}, slots.Names()...), m.wanted)
	return nil
}

// move moves the tables that are in another slot than they belong to: slot after slot, so
// that none has both to give and to take at once.
func (m *mover) move(ctx context.Context) error {
	for _, from := range m.g.record.slots() {
		var moving []*change.Table
		for _, t := range m.tables {
			if name := t.String(); m.g.record.Tables[name] == from && m.wanted[name] != from {
				moving = append(moving, t)
			}
		}
		if len(moving) == 0 {
			continue
		}
		err := m.moveFrom(ctx, from, moving)
		if _, ofLake := errors.AsType[*LakeError](err); ofLake || ctx.Err() != nil || err != nil && m.g.retryable(err) {
			return err
		}
		if err != nil {
			m.g.log.Error("tables stay in their slot until the next start", "slot", from, "error", err)
			m.stay(moving, err.Error())
		}
	}
	return nil
}

// stay notes why tables are not in the slot that they belong to.
func (m *mover) stay(tables []*change.Table, why string) {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	for _, t := range tables {
		if name := t.String(); m.g.record.Tables[name] != m.wanted[name] {
			m.g.stays[name] = fmt.Sprintf("it belongs to slot %s by the configuration, and stays in slot %s until a start that can move it: %s", m.wanted[name], m.g.record.Tables[name], why)
		}
	}
}

// moveFrom moves tables from a slot that has them. Those that it never followed just go;
// the others are handed over at one position, unless something of them waits.
func (m *mover) moveFrom(ctx context.Context, from string, moving []*change.Table) error {
	orders, err := readOrders(ctx, m.g.o.Lake, StreamName(m.g.o.Name, from))
	if err != nil {
		return err
	}
	var free, ready, waiting []*change.Table
	for _, t := range moving {
		o, ordered := orders[t.String()]
		_, coming := m.g.record.Taken[t.String()] // it has not come to where it was moved to last
		switch {
		case o.Removed:
			if err := m.moveRemoved(ctx, t.String(), orders, from); err != nil {
				return err
			}
			free = append(free, t)
		case !m.records[from].has(t.String()) && !ordered && !coming:
			free = append(free, t)
		case !ordered && !coming && m.records[from].inStep(t.String()):
			ready = append(ready, t)
		default:
			waiting = append(waiting, t)
		}
	}
	for _, t := range free {
		m.assign(t.String(), nil)
	}
	m.stay(waiting, "it is paused, stopped or behind there, or waits for a copy")
	if len(ready) > 0 {
		err = m.handOver(ctx, from, ready)
	}
	return errors.Join(err, m.g.record.write(ctx, m.g.o.Lake, m.g.o.Name))
}

// moveRemoved lets a table that somebody removed be none of the other slot's either.
func (m *mover) moveRemoved(ctx context.Context, table string, orders map[string]Order, from string) error {
	lake, to := m.g.o.Lake, StreamName(m.g.o.Name, m.wanted[table])
	theirs, err := readOrders(ctx, lake, to)
	if err != nil {
		return err
	}
	if err := writeOrders(ctx, lake, to, withOrder(theirs, table, orders[table])); err != nil {
		return err
	}
	m.assign(table, nil)
	if err := m.g.record.write(ctx, lake, m.g.o.Name); err != nil {
		return err
	}
	delete(orders, table)
	return writeOrders(ctx, lake, StreamName(m.g.o.Name, from), orders)
}

// assign gives a table to the slot that it belongs to.
func (m *mover) assign(table string, how *handover) {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	m.g.record.Tables[table] = m.wanted[table]
	if how == nil {
		delete(m.g.record.Taken, table)
	} else {
		m.g.record.Taken[table] = *how
	}
}

// inStep reports whether a record says of a table that the lake has all of it before LSN.
func (r *progress) inStep(table string) bool {
	_, stopped := r.Stopped[table]
	return r.follows(table) && r.Commits[table] != 0 && r.Spooled[table] == 0 && !stopped && !slices.Contains(r.Aside, table)
}

// handOver moves tables exactly. The slots that take them publish them first, beside the one
// that has them; then a position is found behind which no transaction commits that had begun
// before that; then the slot that has them is drained to there. The slots that take
// them are behind it, since they do not run.
func (m *mover) handOver(ctx context.Context, from string, tables []*change.Table) error {
	taking := map[string][]*change.Table{}
	for _, t := range tables {
		to := m.wanted[t.String()]
		taking[to] = append(taking[to], t)
	}
	published := map[uint32]change.Published{}
	for _, to := range slices.Sorted(maps.Keys(taking)) {
		if err := m.publish(ctx, to, taking[to], published); err != nil {
			return fmt.Errorf("publish tables for slot %s: %w", to, err)
		}
	}
	at, err := m.source.OpenSnapshot(ctx)
	if err == nil {
		err = m.source.CloseSnapshot(ctx)
	}
	if err != nil {
		return fmt.Errorf("find a position to move tables at: %w", err)
	}
	if err := m.drain(ctx, from, at); err != nil {
		return fmt.Errorf("drain slot %s, to move tables from it: %w", from, err)
	}
	r := m.records[from]
	for _, t := range tables {
		name := t.String()
		p, ok := published[t.ID]
		if !ok || r.LSN < at || !r.inStep(name) {
			m.stay([]*change.Table{t}, fmt.Sprintf("slot %s could not be drained to %s for it", from, at))
			continue
		}
		m.g.log.Info("table goes on through another slot", "table", name, "from", from, "to", m.wanted[name], "lsn", at)
		m.assign(name, &handover{From: from, At: at, Had: r.Commits[name], Published: p})
	}
	return nil
}

// publish makes a slot, where there is none yet, and lets it publish tables that come to it.
func (m *mover) publish(ctx context.Context, to string, coming []*change.Table, published map[uint32]change.Published) error {
	if m.records[to] == nil || m.records[to].LSN == 0 {
		if err := m.once(ctx, to, 0); err != nil {
			return err
		}
	}
	s := m.g.stream(to)
	if _, err := s.source.Identity(ctx); err != nil {
		return err
	}
	has, err := s.source.Tables(ctx)
	if err != nil {
		return err
	}
	orders, err := readOrders(ctx, m.g.o.Lake, StreamName(m.g.o.Name, to))
	if err != nil {
		return err
	}
	has = slices.DeleteFunc(has, func(t *change.Table) bool { return orders[t.String()].Removed })
	prepared, err := s.source.Prepare(ctx, slices.Concat(has, coming), func(t *change.Table) bool {
		return !slices.ContainsFunc(coming, func(c *change.Table) bool { return c.ID == t.ID })
	})
	if err != nil {
		return err
	}
	for _, t := range coming {
		if p, ok := prepared.Published[t.ID]; ok && !slices.ContainsFunc(prepared.Failed, func(f change.Failure) bool { return f.Table.ID == t.ID }) {
			published[t.ID] = p
		}
	}
	return nil
}

// drain brings the tables of a slot to a position.
func (m *mover) drain(ctx context.Context, slot string, at change.LSN) error {
	return m.once(ctx, slot, at)
}

// once runs a slot until it has caught up, or is drained to a position, and reads its record anew.
func (m *mover) once(ctx context.Context, slot string, until change.LSN) error {
	folders, err := ReadFolders(ctx, m.g.o.Lake, m.g.o.Name)
	if err != nil {
		return err
	}
	o := m.g.options(m.g.stream(slot), m.lock)
	maps.Copy(o.part.folders, folders)
	o.Once, o.Until = true, until
	p, err := New(o)
	if err != nil {
		return err
	}
	err = p.Run(ctx)
	if _, ofTables := errors.AsType[TableErrors](err); err != nil && !ofTables {
		return err
	}
	m.records[slot], err = readProgress(ctx, m.g.o.Lake, StreamName(m.g.o.Name, slot))
	return err
}

// stream is that of a slot.
func (g *Group) stream(slot string) *stream {
	for _, s := range g.all() {
		if s.slot == slot {
			return s
		}
	}
	return nil
}

// release lets go of the slots that the configuration names no more, once no table is in them.
func (m *mover) release(ctx context.Context, named []string) error {
	has := map[string][]string{}
	for _, t := range m.tables {
		slot := m.g.record.Tables[t.String()]
		has[slot] = append(has[slot], t.String())
	}
	for _, slot := range slices.Clone(m.g.record.Slots) {
		if slices.Contains(named, slot) {
			continue
		}
		if len(has[slot]) > 0 {
			m.g.log.Warn("the configuration names a slot no more that still has tables", "slot", slot, "tables", strings.Join(has[slot], ", "))
			continue
		}
		err := m.drop(ctx, slot)
		if _, ofLake := errors.AsType[*LakeError](err); ofLake || ctx.Err() != nil || err != nil && m.g.retryable(err) {
			return err
		}
		if err != nil { // it is read on, so that the source keeps no log for it
			m.g.log.Error("a slot that the configuration names no more cannot be dropped, which the next start tries again", "slot", slot, "error", err)
		}
	}
	return nil
}

// drop removes a slot that has no table from the source, and what the lake has of its own.
func (m *mover) drop(ctx context.Context, slot string) error {
	g, s := m.g, m.g.stream(slot)
	p, err := New(g.options(s, m.lock))
	if err != nil {
		return err
	}
	dropped, err := p.Drop(ctx, true)
	if err != nil {
		return err
	}
	if dropped.ByHand != "" {
		g.log.Warn("publications of a slot that is dropped are left to be dropped by hand, on the primary", "slot", slot, "statement", dropped.ByHand)
	}
	g.mu.Lock()
	g.record.Slots = slices.DeleteFunc(g.record.Slots, func(s string) bool { return s == slot })
	maps.DeleteFunc(g.record.Tables, func(_, has string) bool { return has == slot })
	g.streams = slices.DeleteFunc(g.streams, func(s *stream) bool { return s.slot == slot })
	g.mu.Unlock()
	_ = s.source.Close(ctx) // nothing is lost with a connection
	g.log.Info("slot is dropped, which the configuration names no more", "slot", slot)
	return g.record.write(ctx, g.o.Lake, g.o.Name)
}
