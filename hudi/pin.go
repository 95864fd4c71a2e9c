package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// ErrPinLost says that a pin expired or was released: what it held may be cleaned away.
var ErrPinLost = errors.New("the pin is gone")

// pinFolder has a file for each pin. Other engines do not look there.
var pinFolder = path.Join(metaFolder, ".lakefeed", "pins")

// pinGrace is how long a cleaning honours a pin that has expired, for the difference of
// the clocks.
const pinGrace = 30 * time.Second

// PinInfo is a reader that has registered what it reads.
type PinInfo struct {
	ID      string    `json:"id"`
	Instant string    `json:"instant"` // the table as of it stays readable
	Until   time.Time `json:"until"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"` // host and process, for people
	// Alone says that cleanings may have gone past the instant when the pin was made, and a savepoint
	// or another pin kept it: it stays readable by this one when those are released.
	Alone bool `json:"alone,omitempty"`
}

// Pin is a pin of this process. Its methods may be called from several goroutines.
type Pin struct {
	table *Table

	mu      sync.Mutex
	info    PinInfo
	version storage.Version
}

// Info is what is registered.
func (p *Pin) Info() PinInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

func pinFile(id string) string { return path.Join(pinFolder, id+".json") }

// Pin keeps the table readable as of an instant, or a time, for a while: until then [Table.Clean]
// deletes nothing that it needs. An instant that is "" or newer than all that this Table
// knows is the newest one. [ErrCleaned] where a cleaning has passed the instant already.
// Other engines' cleanings know no pins.
func (t *Table) Pin(ctx context.Context, instant string, d time.Duration) (*Pin, error) {
	p, err := t.pin(ctx, instant, d)
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", t.name, err)
	}
	return p, nil
}

func (t *Table) pin(ctx context.Context, instant string, d time.Duration) (*Pin, error) {
	if d <= 0 {
		return nil, fmt.Errorf("time %v: want a positive one", d)
	}
	instant, err := parsePoint("instant", instant)
	if err != nil {
		return nil, err
	}
	newest, ok := t.Timeline().Last()
	switch {
	case !ok:
		return nil, errors.New("the table has no commit yet")
	case instant == "" || instant > newest.Time:
		instant = newest.Time
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name the owner: %w", err)
	}
	now := t.opts.Now().UTC().Truncate(time.Millisecond)
	p := &Pin{table: t, info: PinInfo{
		ID: uuid.NewString(), Instant: instant, Until: now.Add(d), Created: now, Owner: fmt.Sprintf("%s/%d", host, os.Getpid()),
	}}
	data, err := json.Marshal(p.info)
	if err != nil {
		return nil, fmt.Errorf("encode it: %w", err)
	}
	// First it is written, then what was cleaned is looked at: a cleaning writes its
	// plan and then looks at the pins, so that one of the two sees the other.
	alone := false
	if err = t.store.PutIfAbsent(ctx, pinFile(p.info.ID), data); err == nil {
		alone, err = t.checkPinned(ctx, instant)
	}
	if first := t.Timeline().Completed(); err == nil && len(first) > 0 && instant < first[0].Time { // nor before it, which would be archived
		err = badOption("as of %s: the table had no commit then, the first one is %s", instant, first[0].Time)
	}
	if err == nil {
		_, p.version, err = t.store.Get(ctx, pinFile(p.info.ID))
	}
	if err == nil && alone { // only now, as others read by it
		next := p.info
		next.Alone = true
		err = p.put(ctx, next)
	}
	if err != nil {
		return nil, errors.Join(err, p.Release(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// CheckAsOf returns [ErrCleaned] where the table of an instant cannot be read any more, or
// a cleaning that is at it would take it away.
func (t *Table) CheckAsOf(ctx context.Context, instant string) error {
	if _, err := t.checkPinned(ctx, instant); err != nil {
		return fmt.Errorf("read %s: %w", t.name, err)
	}
	return nil
}

// checkPinned refuses an instant that a cleaning has passed, or is about to, and tells whether a
// savepoint or a pin keeps it alone.
func (t *Table) checkPinned(ctx context.Context, instant string) (alone bool, err error) {
	names, err := t.listTimeline(ctx)
	if err != nil {
		return false, err
	}
	tl := timeline.NewLayout(t.Timeline().Layout(), names)
	if alone, err = t.keptAlone(ctx, tl, instant); err != nil {
		return false, err
	}
	for _, i := range tl.Pending() {
		if i.Action != timeline.Clean {
			continue
		}
		plan, err := readPlan(ctx, t, i, timeline.DecodeCleanerPlan)
		if errors.Is(err, storage.ErrNotExist) {
			continue // it was withdrawn
		}
		if err != nil {
			return false, err
		}
		if e := plan.EarliestInstantToRetain; e == nil || instant < e.Timestamp {
			return false, fmt.Errorf("as of %s: %w: %s is at it", instant, ErrCleaned, i)
		}
	}
	return alone, nil
}

// keptByPin tells whether somebody has pinned an instant that nothing else may keep.
func (t *Table) keptByPin(ctx context.Context, instant string) (bool, error) {
	pins, err := t.Pins(ctx)
	if err != nil {
		return false, err
	}
	now := t.opts.Now()
	return slices.ContainsFunc(pins, func(p PinInfo) bool {
		return p.Alone && p.Instant == instant && !now.After(p.Until)
	}), nil
}

// Renew keeps the pin for a time from now on; [ErrPinLost] where it is too late.
func (p *Pin) Renew(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.table.opts.Now().UTC().Truncate(time.Millisecond)
	if now.After(p.info.Until) {
		return fmt.Errorf("renew pin %s, which expired at %v: %w", p.info.ID, p.info.Until, ErrPinLost)
	}
	next := p.info
	next.Until = now.Add(d)
	if err := p.put(ctx, next); err != nil {
		return fmt.Errorf("renew pin %s: %w", p.info.ID, err)
	}
	return nil
}

// put writes the pin over what was read of it last.
func (p *Pin) put(ctx context.Context, next PinInfo) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode it: %w", err)
	}
	v, err := p.table.store.PutIfMatch(ctx, pinFile(p.info.ID), data, p.version)
	if errors.Is(err, storage.ErrConflict) {
		v, err = p.adopt(ctx, data)
	}
	if err != nil {
		return err //nolint:wrapcheck // the caller names the pin
	}
	p.info, p.version = next, v
	return nil
}

// adopt goes on from a file that an earlier Renew wrote whose answer was lost.
func (p *Pin) adopt(ctx context.Context, data []byte) (storage.Version, error) {
	_, v, err := p.table.store.Get(ctx, pinFile(p.info.ID))
	if errors.Is(err, storage.ErrNotExist) {
		return "", ErrPinLost
	}
	if err == nil {
		v, err = p.table.store.PutIfMatch(ctx, pinFile(p.info.ID), data, v)
	}
	return v, err
}

// Release takes the pin away.
func (p *Pin) Release(ctx context.Context) error { return p.table.Unpin(ctx, p.Info().ID) }

// Unpin takes a pin away, whoever made it. One that is gone is no error.
func (t *Table) Unpin(ctx context.Context, id string) error {
	if err := uuid.Validate(id); err != nil {
		return fmt.Errorf("release pin of %s: %w", t.name, badOption("%q is no pin's id", id))
	}
	if err := t.store.Delete(ctx, pinFile(id)); err != nil {
		return fmt.Errorf("release pin %s of %s: %w", id, t.name, err)
	}
	return nil
}

// Pins are the readers that have registered, the one that reads the oldest instant
// first; expired ones too, as long as no cleaning has removed them.
func (t *Table) Pins(ctx context.Context) ([]PinInfo, error) {
	var out []PinInfo
	for info, err := range t.store.List(ctx, pinFolder, false) {
		if err != nil {
			return nil, fmt.Errorf("list pins: %w", err)
		}
		data, _, err := t.store.Get(ctx, info.Name)
		if errors.Is(err, storage.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read pin: %w", err)
		}
		var p PinInfo
		err = offset.OfJSON(json.Unmarshal(data, &p))
		if err == nil && (info.Name != pinFile(p.ID) || p.Instant == "" || p.Until.IsZero()) {
			err = errors.New("want id, instant and until")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: delete the file if no reader needs it", &CorruptError{info.Name, err})
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b PinInfo) int { return strings.Compare(a.Instant+a.ID, b.Instant+b.ID) })
	return out, nil
}

// needed is the oldest instant as of which somebody reads the table: who has a pin, and
// other writers. "" where nobody does. Pins that expired are removed.
func (t *Table) needed(ctx context.Context) (string, error) {
	pins, err := t.Pins(ctx)
	if err != nil {
		return "", err
	}
	oldest := ""
	keep := func(instant string) {
		if oldest == "" || instant < oldest {
			oldest = instant
		}
	}
	for _, p := range pins {
		if t.opts.Now().After(p.Until.Add(pinGrace)) {
			if err := t.Unpin(ctx, p.ID); err != nil {
				return "", err
			}
			continue
		}
		keep(p.Instant)
	}
	for _, i := range t.timeline.Pending() {
		if i.Writes() {
			keep(i.Time)
		}
	}
	return oldest, nil
}

// retained lowers the oldest instant that a cleaning keeps to what is needed.
func (t *Table) retained(ctx context.Context, earliest timeline.Instant) (timeline.Instant, error) {
	oldest, err := t.needed(ctx)
	if err != nil || oldest == "" || oldest >= earliest.Time {
		return earliest, err
	}
	commits := t.timeline.Completed()
	kept := commits[0]
	for _, i := range commits {
		if i.Time <= oldest {
			kept = i
		}
	}
	return kept, nil
}

// withdraw takes a cleaning's plan back, on which nothing was done yet, where a reader
// has pinned meanwhile what it would delete.
func (t *Table) withdraw(ctx context.Context, i timeline.Instant, plan *timeline.CleanerPlan) (bool, error) {
	oldest, err := t.needed(ctx)
	if err != nil {
		return false, err
	}
	if e := plan.EarliestInstantToRetain; oldest == "" || e != nil && oldest >= e.Timestamp {
		return false, nil
	}
	i.State = timeline.Requested
	if err := t.store.Delete(ctx, t.instantFile(i)); err != nil {
		return false, fmt.Errorf("withdraw %s, for a reader pinned %s: %w", i, oldest, err)
	}
	t.without(i)
	t.opts.Logger.Info("a cleaning waits for a reader", "table", t.name, "instant", i.Time, "pinned", oldest)
	return true, nil
}

// Hold renews the pin, each time for d from then on, until release is called, which must
// be: it takes the pin away. A process that dies before leaves the pin for at most d.
func (p *Pin) Hold(ctx context.Context, d time.Duration) (release func()) {
	beating, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(max(d/3, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-beating.Done():
				return
			case <-tick.C:
			}
			if err := p.Renew(beating, d); err != nil && beating.Err() == nil {
				p.table.opts.Logger.Warn("a reader's pin was not renewed", "table", p.table.name, "error", err)
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		if err := p.Release(context.WithoutCancel(ctx)); err != nil {
			p.table.opts.Logger.Warn("a reader's pin stays until it expires", "table", p.table.name, "error", err)
		}
	}
}

// pinRead pins what a read with these options needs, as long as the read itself does.
func (t *Table) pinRead(ctx context.Context, opts ReadOptions) (*Pin, error) {
	if opts.Pin == 0 {
		return nil, nil //nolint:nilnil // a reader that asked for no pin has none
	}
	if _, ok := t.Timeline().Last(); !ok {
		return nil, nil //nolint:nilnil // there is nothing to read
	}
	return t.pin(ctx, opts.AsOf, opts.Pin)
}
