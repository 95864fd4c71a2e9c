package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"lakefeed/change"
	"lakefeed/storage"
)

// ErrNoTables is a configuration that takes no table of the source.
var ErrNoTables = errors.New("no table of the source matches the configuration, or its role sees none: look at `tables` there")

// slotWait is how long a slot that another session still holds is awaited: after
// a kill the server needs a while to notice.
const slotWait = 60 * time.Second

// start brings source and lake to where streaming can begin, and returns the
// position to begin at: every table has its first copy or has failed.
func (p *Pipeline) start(ctx context.Context) (change.LSN, error) {
	src := p.opts.Source
	past, err := readAncestry(ctx, src)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	p.source, p.past = past.now, past
	p.mu.Unlock()
	tables, err := src.Tables(ctx)
	if err != nil {
		return 0, fmt.Errorf("list tables of the source: %w", err)
	}
	all := len(tables)
	if tables = p.withoutRemoved(tables); len(tables) == 0 && p.opts.part == nil {
		if all > 0 {
			return 0, fmt.Errorf("all tables were removed from the pipeline, or handed over to another one; `lakefeed drop` gives it up: %w", ErrNoTables)
		}
		return 0, ErrNoTables
	}
	record, err := p.readRecord(ctx)
	if err != nil {
		return 0, err
	}
	if record != nil {
		if err := past.rebase(record, "the lake "+p.opts.Lake.String()); err != nil {
			return 0, err
		}
	}
	p.clock.begin(record)
	p.failures.Clear()
	p.mu.Lock()
	p.writing = 0
	p.mu.Unlock()
	p.openTargets(ctx, tables, record)
	if err := p.openSpool(ctx, record); err != nil {
		return 0, err
	}
	for _, t := range p.targets {
		p.copyStranger(t, record)
	}
	p.checkAhead()
	if err := p.checkKeys(ctx, record); err != nil {
		return 0, err
	}
	p.checkFollowed(record)
	for again := true; again; { // once more for those that are copied because they were missing
		prepared, err := src.Prepare(ctx, tables, p.followed)
		if err != nil {
			return 0, fmt.Errorf("publish tables: %w", err)
		}
		if err := p.checkStaged(ctx, prepared); err != nil {
			return 0, err
		}
		again = p.checkPublished(ctx, prepared)
	}
	from, err := p.openSlot(ctx, record)
	if err != nil {
		return 0, err
	}
	for _, t := range p.targets {
		t.safe = max(t.safe, t.at.LSN)
		if t.opened {
			t.copied = t.at.Copied
		}
		t.covered, t.inOrder = t.safe, p.journal[t.name]
		src.Cover(t.source, t.covered)
		t.stand()
	}
	p.written = from
	p.passed.set(from)
	if err := p.startReplay(ctx); err != nil {
		return 0, err
	}
	p.showSnapshots()
	p.recordStops(ctx)
	src.Expect(p.last)
	p.readLSN.Store(uint64(from))
	p.ackedLSN.Store(uint64(from))
	return from, nil
}

// checkFollowed stops a table that has an earlier checkpoint but was left out in
// between: changes of that time were acknowledged and are gone.
func (p *Pipeline) checkFollowed(record *progress) {
	if record == nil || record.Starting {
		return
	}
	for _, t := range p.targets {
		if t.stranger && t.at.LSN != 0 && !t.failed() && t.recopy == nil {
			p.fail(t, t.leftOut())
		}
	}
}

// checkKeys stops the tables that are no longer what the lake has, whose rows are
// identified by other columns for one, or that are not published as they were. That is
// recorded before the source is told to publish them otherwise: who gets his old key
// back lacks the updates of the time without it.
func (p *Pipeline) checkKeys(ctx context.Context, record *progress) error {
	published, err := p.opts.Source.Published(ctx)
	if err != nil {
		return err
	}
	changed := false
	look := sync.OnceValues(func() (*change.Look, error) { return p.opts.Source.Look(ctx) })
	for _, t := range p.targets {
		if t.at.LSN == 0 || t.failed() || t.recopy != nil {
			continue
		}
		var err error
		if len(t.segments) == 0 && !t.paused { // else what they hold may be of the table as it was between
			err = p.meetStart(ctx, t, look)
		}
		if err == nil {
			err = t.samePublished(published)
		}
		if err != nil {
			p.fail(t, err)
			changed = changed || record.follows(t.name)
		}
	}
	if !changed || record.Starting {
		return nil
	}
	return p.record(ctx, record.LSN)
}

// followed reports whether the source must have published a table until now.
func (p *Pipeline) followed(table *change.Table) bool {
	t := p.targetOf(table)
	return t != nil && (t.at.LSN != 0 || t.failed()) && t.recopy == nil
}

// checkPublished stops the tables that the source cannot publish, and those that it
// did not publish for a while: what was done to them in that time is in no log. It
// reports whether tables are to be published after all, since they are copied anew.
func (p *Pipeline) checkPublished(ctx context.Context, prepared *change.Prepared) (again bool) {
	for _, f := range prepared.Failed {
		switch t := p.targetOf(f.Table); {
		case t == nil || t.failed():
		case p.retryable(f.Err): // a lock that somebody has: the others do not wait for that
			p.copyFailed(ctx, t, &sourceError{f.Err})
		default:
			t.settled = true // its log would be kept for nothing
			p.fail(t, f.Err)
		}
	}
	for _, t := range p.targets {
		have, there := prepared.Published[t.source.ID]
		if there && !t.failed() && (t.at.LSN == 0 || t.recopy != nil || t.howPublished() == nil) {
			t.setPublished(&have)
		}
	}
	for _, table := range prepared.Missing {
		if t := p.targetOf(table); t != nil && !t.failed() {
			p.fail(t, anew("%s is not published any more (it was made anew in the source, or somebody took it out of the publication), and the lake lacks what was done to it", table))
			again = again || t.recopy != nil
		}
	}
	return again
}

// openSlot makes the slot or checks it, and makes the copies that are missing.
func (p *Pipeline) openSlot(ctx context.Context, record *progress) (change.LSN, error) {
	src := p.opts.Source
	slot, err := freeSlot(ctx, src)
	if err != nil {
		return 0, err
	}
	known := p.known(record)
	if err := p.fitsAway(slot, known); err != nil {
		return 0, err
	}
	if err := fits(p.source, slot, known, record); p.mayRemake(err) {
		return p.remakeSlot(ctx, slot, known, err)
	} else if err != nil {
		p.lost(ctx, err)
		return 0, err
	}
	if known == 0 {
		if err := p.forgetOrder(ctx); err != nil {
			return 0, err
		}
		return p.firstSlot(ctx, slot != nil)
	}
	if record != nil && record.Remake {
		return p.remakeSlot(ctx, slot, known, errors.New("a start that made it anew was interrupted"))
	}
	p.dropped.Store(nil) // it is there
	if p.orderOf(allTables).Resync != 0 {
		p.recopyAll(asked)
	}
	if err := p.checkEnd(ctx, known); err != nil {
		return 0, err
	}
	p.last = p.newestMark(record)
	at := slot.Confirmed
	if record != nil {
		at = max(at, record.LSN) // its acknowledgement did not arrive
	}
	if err := errors.Join(p.record(ctx, at), p.forgetOrder(ctx)); err != nil {
		return 0, err
	}
	// Not behind the newest transaction, which must show again.
	from := max(slot.Confirmed, min(at, p.last.Commit))
	p.leaveChunks()
	if !p.lacksCopy() {
		return from, nil
	}
	if p.opts.Once {
		return from, p.copyMissing(ctx, src.OpenSnapshot)
	}
	for _, t := range p.targets { // the others are not to wait for them
		if t.lacksCopy() && t.recopy == nil {
			p.recopy(t, "it has no copy yet")
		}
	}
	return from, nil
}

// remakeWay is the way out where a slot is of no use any more.
const remakeWay = "`lakefeed resync --all` lets the next run make the slot anew and copy all tables anew, beside the stream, and `on_lost_slot: resync` lets it do so by itself where the slot is lost or gone"

// fits refuses a slot that is not the one through which the lake was filled up to known.
func fits(source change.Identity, slot *change.SlotState, known change.LSN, record *progress) error {
	if err := ownSlot(source, slot); err != nil {
		return err
	}
	switch {
	case record != nil && record.Remake: // whatever is there may be dropped
	case slot == nil && known != 0:
		return &PositionError{
			What:   fmt.Sprintf("the lake was kept in step up to %s through slot %s, and the slot is %s", known, source.Slot, record.goneBy()),
			WayOut: "changes since then may be lost: " + remakeWay + "; or give the pipeline an empty lake folder",
			slot:   gone,
		}
	case slot == nil:
	case known == 0 && (record == nil || !record.Starting):
		return &PositionError{
			What:   fmt.Sprintf("slot %s exists, and the lake knows nothing of it", source.Slot),
			WayOut: fmt.Sprintf("if no other lake is fed through it, drop it: select pg_drop_replication_slot('%s')", source.Slot),
		}
	case known == 0:
	case slot.Lost:
		return &PositionError{
			What:   fmt.Sprintf("slot %s lost its log: %s", source.Slot, lostBy(slot.Why)),
			WayOut: remakeWay + "; or drop the slot and give the pipeline an empty lake folder",
			slot:   gone,
		}
	case slot.Confirmed > known:
		return &PositionError{
			What:   fmt.Sprintf("slot %s was moved to %s, and the lake holds changes up to %s only: someone else read it or made it anew, or another machine has the spool", source.Slot, slot.Confirmed, known),
			WayOut: "changes between the two are lost: " + remakeWay + "; or drop the slot and give the pipeline an empty lake folder",
			slot:   moved,
		}
	}
	return nil
}

// lostBy says what a server means by its word for why a slot is of no use any more.
func lostBy(why string) string {
	switch why {
	case "wal_removed":
		return "the source removed WAL that was still needed (max_slot_wal_keep_size)"
	case "idle_timeout":
		return "nobody read it for longer than the source waits (idle_replication_slot_timeout)"
	case "wal_level_insufficient":
		return "the source, or the primary of a standby, was run with a wal_level below logical"
	case "rows_removed":
		return "the primary removed rows of catalogs that the slot of its standby still needed (hot_standby_feedback was off there, or did not reach the primary)"
	case "conflict": // PostgreSQL 16 does not tell which
		return "the primary removed rows of catalogs that the slot of its standby still needed (hot_standby_feedback was off there, or did not reach the primary), or was run with a wal_level below logical"
	default:
		return "the source made it invalid (" + why + ")"
	}
}

// ownSlot refuses a slot that has our name and is not ours.
func ownSlot(source change.Identity, slot *change.SlotState) error {
	if slot == nil || slot.Plugin == "pgoutput" && slot.Database == source.Database {
		return nil
	}
	what := fmt.Sprintf("slot %s is a physical one", slot.Name)
	if slot.Plugin != "" {
		what = fmt.Sprintf("slot %s is of database %s and plugin %s, not of %s and pgoutput", slot.Name, slot.Database, slot.Plugin, source.Database)
	}
	return &PositionError{What: what, WayOut: "somebody else made it: drop it if nobody needs it, or give the pipeline another name"}
}

// CheckPosition looks, without changing anything, whether a pipeline that is to run
// would find the source and the slot through which its lake was filled. A
// *PositionError says that it would not.
func CheckPosition(ctx context.Context, name string, source Source, lake storage.Store) error {
	past, err := readAncestry(ctx, source)
	if err != nil {
		return err
	}
	record, err := readProgress(ctx, lake, name)
	if err != nil {
		return err
	}
	slot, err := source.Slot(ctx)
	if err != nil {
		return fmt.Errorf("look at slot: %w", err)
	}
	if record == nil {
		return fits(past.now, slot, 0, nil)
	}
	if err := past.rebase(record, "the lake "+lake.String()); err != nil {
		return err
	}
	return fits(past.now, slot, record.LSN, record)
}

// checkEnd refuses a source whose log ends before what the lake holds: a file copy
// of it was put back, with slot and system identifier.
func (p *Pipeline) checkEnd(ctx context.Context, known change.LSN) error {
	end, err := p.opts.Source.Emit(ctx, "start")
	standby := errors.Is(err, change.ErrReadOnly)
	if err != nil && !standby {
		return fmt.Errorf("look at the end of the source's log: %w", err)
	}
	for _, t := range p.targets {
		known = max(known, t.at.LSN, t.safe)
	}
	switch {
	case end >= known:
		return nil
	case standby:
		return &change.BehindError{End: end, Want: known}
	}
	return &PositionError{
		What:   fmt.Sprintf("the source's log ends at %s, and the lake holds changes up to %s: the database was restored from an older copy", end, known),
		WayOut: "drop the slot and give the pipeline an empty lake folder, so that its tables are copied anew",
	}
}

// newestMark is the newest transaction that the lake was written from. The log must
// show it again where streaming begins at or before it. Where it begins behind it, the
// source was told to forget it: the round that had it is in the lake, and no later one is.
func (p *Pipeline) newestMark(record *progress) (m change.Mark) {
	if record != nil {
		m = record.Last
	}
	for _, t := range p.targets {
		for _, last := range []change.Mark{t.at.Last, t.spooledLast} {
			if last.Commit > m.Commit {
				m = last
			}
		}
	}
	return m
}

// otherHistory adds the way out to a log that is not the one that the lake was written from.
func otherHistory(err error) error {
	if h, ok := errors.AsType[*change.HistoryError](err); ok {
		return &PositionError{
			What:   h.Error() + ": the database was restored from an older copy, and has gone on since",
			WayOut: "drop the slot and give the pipeline an empty lake folder, so that its tables are copied anew",
		}
	}
	return err
}

// firstSlot makes the slot; what it made of its own before a crash is made anew.
func (p *Pipeline) firstSlot(ctx context.Context, again bool) (change.LSN, error) {
	src := p.opts.Source
	if again {
		if err := src.DropSlot(ctx); err != nil {
			return 0, fmt.Errorf("drop the slot of an interrupted start: %w", err)
		}
	}
	if err := writeProgressAt(ctx, p.opts.Lake, progressName(p.opts.key()), progress{Pipeline: p.opts.Name, Source: p.source, Starting: true, Folders: p.folders, Written: time.Now().UTC()}); err != nil {
		return 0, err
	}
	at := change.LSN(0)
	p.leaveChunks()
	err := p.copyMissing(ctx, func(ctx context.Context) (change.LSN, error) {
		var err error
		if at, err = src.CreateSlot(ctx); err != nil {
			return 0, err
		}
		return at, p.record(ctx, at)
	})
	return at, err
}

// record writes the progress record: position and the tables that are followed.
func (p *Pipeline) record(ctx context.Context, lsn change.LSN) error {
	if err := p.voidUseless(ctx); err != nil {
		return err
	}
	r := progress{
		Pipeline: p.opts.Name, Source: p.source, LSN: lsn, Last: p.last, Seen: p.clock.upTo(lsn), Folders: p.folders, Commits: map[string]change.LSN{},
		Remake: p.remaking, Dropped: p.droppedBy(), Published: map[string]change.Published{}, Spooled: map[string]change.LSN{}, Stopped: map[string]stopNote{},
	}
	for _, t := range p.targets {
		if published := t.howPublished(); published != nil {
			r.Published[t.name] = *published
		}
		if n := len(t.segments); n > 0 {
			r.Spooled[t.name] = t.segments[n-1].to
		}
		if !t.opened && t.expected > r.Spooled[t.name] { // one that is gone is missed when it can be read
			r.Spooled[t.name] = t.expected
		}
		had := t.had
		if !t.job { // else its checkpoint moves
			had = max(had, t.at.LSN)
		}
		if had != 0 {
			r.Commits[t.name] = had
		}
		if t.settled || t.incomplete() || t.noted != nil {
			p.noteStopped(&r, t)
			if had != 0 || t.recopy == nil {
				continue
			}
		}
		if t.unlisted() {
			continue
		}
		r.Tables = append(r.Tables, t.name)
		if t.lags() {
			r.Aside = append(r.Aside, t.name)
		}
	}
	return p.writeRecord(ctx, r)
}

// known is the position up to which the lake holds every table: what the record
// says, since no acknowledgement comes before it. Where somebody removed the record, the tables
// tell, as well as they can.
func (p *Pipeline) known(record *progress) change.LSN {
	if record != nil && record.LSN != 0 {
		return record.LSN
	}
	lsn := change.LSN(0)
	for _, t := range p.targets {
		lsn = max(lsn, t.at.LSN)
	}
	return lsn
}

// freeSlot is the state of the source's slot once no other session holds it.
func freeSlot(ctx context.Context, src Source) (*change.SlotState, error) {
	deadline := time.Now().Add(slotWait)
	for {
		slot, err := src.Slot(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at slot: %w", err)
		}
		if slot == nil || !slot.Active {
			return slot, nil
		}
		if !slot.Ours || time.Now().After(deadline) {
			return nil, fmt.Errorf("slot %s is in use by process %d of the database server (%s): stop that one (select pg_terminate_backend(%d) ends its session)", slot.Name, slot.PID, cmp.Or(slot.Reader, "another Lakefeed or tool"), slot.PID)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tableErrors joins what stopped tables, nil where none is.
func (p *Pipeline) tableErrors() error {
	var errs []*TableError
	for _, t := range p.targets {
		if err, ok := p.failures.Load(t.name); ok {
			errs = append(errs, &TableError{Table: t.name, Err: err.(error)})
		} else if o := p.orderOf(t.name); t.paused && o.Why != "" {
			errs = append(errs, &TableError{Table: t.name, Err: fmt.Errorf("%w: %s", ErrPaused, o.Why)})
		} else if t.paused {
			errs = append(errs, &TableError{Table: t.name, Err: ErrPaused})
		}
	}
	return joinTables(errs)
}

// ErrPaused is of a table that somebody paused.
var ErrPaused = errors.New("it is paused, and its changes wait in the spool: lakefeed resume")

// TableError is a table that stopped.
type TableError struct {
	Table string
	Err   error
}

// Error names the table.
func (e *TableError) Error() string { return "table " + e.Table + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *TableError) Unwrap() error { return e.Err }
