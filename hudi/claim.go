package hudi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// The claim is a small file of a table that is only ever replaced on condition that it is
// the one that was read. Whatever cannot be taken back, a commit, the plan of a service, its
// end, is decided there first: the claim says which file of the timeline is to be, and what
// stands in it. Then the file is put. So all writers' decisions stand in one row, each of
// them made by who knew the one before:
//
//   - Who takes a pending instant for a crash's rest has the claim first. From then on the
//     other one, should it live, decides nothing: its commit finds another claim.
//   - What was decided before that and not put yet, the new one puts. It is never taken back
//     unseen.
//
// It takes no lock and no clock for that. Who is at work, and for how long it was not seen,
// the claim says too, so that nobody is disturbed needlessly; see claim_holder.go.
//
// docs/format/locks-and-pins.md has the file.

// claimFile is where it is.
var claimFile = path.Join(metaFolder, ".lakefeed", "writer.json")

// claimRecord is what the file says.
type claimRecord struct {
	Number  int64     `json:"number"` // grows with each version of the file
	Writer  string    `json:"writer"` // a Table of a process
	Shared  bool      `json:"shared,omitempty"`
	Since   time.Time `json:"since"`
	Seen    time.Time `json:"seen"`
	Good    int64     `json:"good"`              // milliseconds for which it counts as alive after that
	Busy    string    `json:"busy,omitempty"`    // what the writer does that no pending instant shows
	Decided *decision `json:"decided,omitempty"` // last of all
	Holder
}

// decision is a file of the timeline that is to be.
type decision struct {
	File string `json:"file"` // in the timeline's folder
	Data []byte `json:"data"`
}

func (d *decision) instant() timeline.Instant {
	i, _ := timeline.ParseName(d.File)
	return i
}

// began tells whether what was decided last is a beginning, which its writer has not ended.
func (d *decision) began() bool { return d != nil && d.instant().State != timeline.Completed }

// working tells whether the writer was at work when it wrote the claim last.
func (r *claimRecord) working() bool { return r.Busy != "" || r.Decided.began() }

// at is the instant that it began, none where that shows in Busy alone.
func (r *claimRecord) at() timeline.Instant {
	if !r.Decided.began() {
		return timeline.Instant{}
	}
	return r.Decided.instant()
}

// on is what the writer was at work on, an instant or a service; "" where it was not.
func (r *claimRecord) on() string {
	if i := r.at(); i.Time != "" {
		return i.String()
	}
	return r.Busy
}

// claim is what a Table knows of it.
type claim struct {
	writer string

	mu      sync.Mutex // guards what follows: the beat comes at any time
	known   bool       // the rest is what the file says, as far as this Table knows
	record  claimRecord
	version storage.Version  // "" where there is no file
	put     bool             // the record's decision is carried out
	seen    bool             // the timeline was looked at since the version was read or written
	tried   timeline.Instant // what was decided last, or may be though it was said that it is not
	at      time.Time        // when it was written last, by the monotonic clock
	proved  stopwatch        // since when it is known to be this Table's
	busy    string           // what this Table is about to do, or does, for the record
	late    time.Duration    // lateAfter
	stop    func()           // ends the beats
}

// claimTries is how often in a row others may take the claim while something is decided.
const claimTries = 3

func newClaim() *claim { return &claim{writer: uuid.NewString(), late: lateAfter} }

func (c *claim) mine() bool { return c.known && c.record.Writer == c.writer }

// standing is what the claim goes on saying of what was decided: all but that a file is to be
// which is on the timeline.
func (c *claim) standing() *decision {
	if c.put && !c.record.Decided.began() {
		return nil
	}
	return c.record.Decided
}

// doubt lets the file be read before anything else is done by it.
func (c *claim) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = false
}

// carried notes that what this Table decided is put.
func (c *claim) carried() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put = c.put || c.mine()
}

// mayHaveDecided tells whether a file is what this Table decided last: then another writer may
// have put it, and archived it.
func (c *claim) mayHaveDecided(i timeline.Instant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried == i
}

// looked notes that the timeline was listed, which began when the claim was so.
func (c *claim) looked(at storage.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.seen || c.known && c.version == at
}

func (c *claim) versionNow() storage.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// learn reads the claim, unless it is known. Who calls this and what follows holds c.mu.
func (t *Table) learn(ctx context.Context) error {
	if t.claim.known {
		return nil
	}
	_, err := t.readClaim(ctx)
	return err
}

// readClaim reads the claim, and returns its bytes; nil where there is none.
func (t *Table) readClaim(ctx context.Context) ([]byte, error) {
	c := t.claim
	c.known = false
	data, v, err := t.store.Get(ctx, claimFile)
	r := claimRecord{}
	switch {
	case errors.Is(err, storage.ErrNotExist):
		data, v = nil, ""
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", claimFile, err)
	default:
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, &CorruptError{claimFile, fmt.Errorf("%w; delete it when nobody writes to the table", offset.OfJSON(err))}
		}
	}
	if v != c.version {
		c.seen, c.put = false, r.Decided == nil
	}
	c.record, c.version, c.known = r, v, true
	return data, nil
}

// hasFile tells whether the timeline, when it was looked at, had a file.
func (t *Table) hasFile(name string) bool {
	_, found := slices.BinarySearch(t.names, name)
	return found
}

// writeClaim replaces the version that is known; [storage.ErrConflict] where another took
// its place. With any other error it is not known what the file says.
func (t *Table) writeClaim(ctx context.Context, d *decision) error {
	c := t.claim
	now := t.opts.Now().UTC()
	next := claimRecord{Number: c.record.Number + 1, Writer: c.writer, Shared: t.opts.Concurrency.optimistic(), Since: now, Seen: now, Good: t.opts.Concurrency.deadAfter().Milliseconds(), Busy: c.busy, Decided: d, Holder: thisProcess()}
	if c.mine() {
		next.Since = c.record.Since
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode claim: %w", err)
	}
	began, v := time.Now(), storage.Version("")
	if c.version == "" {
		err = t.store.PutIfAbsent(ctx, claimFile, data)
	} else if v, err = t.store.PutIfMatch(ctx, claimFile, data, c.version); err == nil {
		c.record, c.version, c.at, c.proved = next, v, began, stopwatch(began)
		return nil
	}
	return t.readBack(ctx, data, began, err)
}

// readBack learns the version of a claim that was made, and whether one was written
// although that failed. By its number it would not be known: an earlier one, of which it was
// not known whether it was written, had the same and may have come late.
func (t *Table) readBack(ctx context.Context, written []byte, began time.Time, err error) error {
	c := t.claim
	before, seen, put := c.version, c.seen, c.put
	there, lerr := t.readClaim(ctx)
	switch {
	case lerr != nil && errors.Is(err, storage.ErrConflict):
		return lerr // what is there may be ours: a proxy may have sent the request twice
	case lerr != nil:
		return errors.Join(err, lerr)
	case bytes.Equal(there, written):
		c.at, c.proved, c.seen, c.put = began, stopwatch(began), seen, put
		return nil
	case err == nil || c.version != before && !errors.Is(err, storage.ErrConflict):
		return fmt.Errorf("write %s: %w: %w", claimFile, storage.ErrConflict, errMaybe)
	case c.version != before:
		return fmt.Errorf("write %s: %w", claimFile, storage.ErrConflict)
	}
	return fmt.Errorf("write %s: %w", claimFile, err)
}

// errMaybe is a claim that was written, perhaps, before another took its place.
var errMaybe = errors.New("it may have been written before that")

// carryOut puts the file that was decided on last, where that was not done: by a process
// that died, or whose answer was lost. Who is not the one that decided takes the claim
// first, so that the decision cannot be followed by another of that one.
func (t *Table) carryOut(ctx context.Context) error {
	c := t.claim
	d := c.record.Decided
	if c.put = c.put || d == nil || t.hasFile(d.File); c.put {
		return nil
	}
	if !c.mine() {
		if err := t.writeClaim(ctx, d); err != nil {
			return err
		}
	}
	names, err := t.listTimeline(ctx)
	if err != nil {
		return err
	}
	missing, err := t.outstanding(ctx, names, d.File)
	if err != nil {
		return err
	}
	if missing {
		t.opts.Logger.Info("putting what a writer decided on and did not put", "table", t.name, "file", d.File)
		if err := t.putMissing(ctx, d); err != nil {
			return err
		}
	}
	c.put, c.seen = true, false // it may be there, and what was looked at has it not
	return nil
}

// putMissing puts what was decided. Where yet another writer has the claim by then, it may
// have come too late for that.
func (t *Table) putMissing(ctx context.Context, d *decision) error {
	began, name := newStopwatch(), path.Join(t.timelineAt, d.File)
	err := t.store.PutIfAbsent(ctx, name, d.Data)
	switch {
	case errors.Is(err, storage.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("create %s: %w", d.File, err)
	case began.elapsed() <= t.claim.late:
		return nil
	}
	if err := t.overtaken(ctx, d.File); errors.As(err, new(*ConflictError)) {
		return errors.Join(err, t.store.Delete(context.WithoutCancel(ctx), name))
	}
	return nil // it is there, and what the claim says is learnt before it is written
}

// ready learns the claim, refuses to go on where it is that of a writer at work, and carries
// out what was decided.
func (t *Table) ready(ctx context.Context) error {
	c := t.claim
	if !c.mine() {
		c.known = false // its writer may have ended its work
	}
	if err := t.learn(ctx); err != nil {
		return err
	}
	taken, err := t.occupied(ctx)
	switch {
	case err != nil:
		return err
	case taken:
		return t.claimed(&c.record, c.record.at())
	}
	return t.carryOut(ctx)
}

// hold has the claim: it is this Table's, and says so if it is busy, or is taken from a writer
// that is not at work. It tells whether the table has to be looked at once more.
func (t *Table) hold(ctx context.Context) (changed bool, err error) {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	for range claimTries {
		err = t.ready(ctx)
		switch {
		case err != nil:
		case !c.mine():
			err = t.writeClaim(ctx, nil)
		case c.record.Busy != c.busy || time.Since(c.at) > t.opts.Concurrency.Heartbeat:
			err = t.writeClaim(ctx, c.standing())
		}
		if !errors.Is(err, storage.ErrConflict) {
			return !c.seen, err
		}
	}
	return false, t.claimLost("")
}

// prove refuses to go on where another writer has taken the claim.
func (t *Table) prove(ctx context.Context) error {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.opts.Concurrency.optimistic() && c.busy == "" {
		return nil // it has the lock
	}
	began := newStopwatch()
	if _, err := t.readClaim(ctx); err != nil {
		return err
	}
	if !c.mine() {
		return t.claimLost("")
	}
	c.proved = began
	return nil
}

// proveAgain is prove before each of many things that cannot be taken back: it asks only where
// so much time has gone by that another writer may have taken the claim.
func (t *Table) proveAgain(ctx context.Context) error {
	c := t.claim
	c.mu.Lock()
	fresh := c.mine() && c.proved.elapsed() <= c.late
	c.mu.Unlock()
	if fresh {
		return nil
	}
	return t.prove(ctx)
}

// claimLost says who has the claim. Its holder was read.
func (t *Table) claimLost(instant string) error {
	r := &t.claim.record
	return &ConflictError{Instant: instant, Reason: fmt.Sprintf("%s writes to the table too, since %s: stop one of the two, or give both Concurrency.Mode %s and one lock", r.Holder, stamp(r.Since), Optimistic)}
}

// alone sees that the timeline is what this Table knows, besides files that it created.
func (t *Table) alone(ctx context.Context, instant string, created ...timeline.Instant) error {
	want := slices.Clone(t.names)
	for _, i := range created {
		if at, found := slices.BinarySearch(want, i.FileName()); !found {
			want = slices.Insert(want, at, i.FileName())
		}
	}
	names, err := t.listTimeline(ctx)
	if err != nil || slices.Equal(names, want) {
		return err
	}
	return &ConflictError{Instant: instant, Reason: otherWriter(want, names)}
}

// otherWriter says by which file another writer shows itself.
func otherWriter(want, names []string) string {
	added, gone := difference(want, names)
	what := ""
	switch {
	case len(added) > 0:
		what = "made " + added[0]
	case len(gone) > 0:
		what = "took " + gone[0] + " away"
	}
	return fmt.Sprintf("another writer %s meanwhile: stop it, or give all of them Concurrency.Mode %s and one lock", what, Optimistic)
}

// carryOutFree is carryOut where nobody is at work: from a writer that lives the claim is not taken.
func (t *Table) carryOutFree(ctx context.Context) error {
	if taken, err := t.occupied(ctx); err != nil || taken {
		return err
	}
	return t.carryOut(ctx)
}

// settled carries out what was decided of an instant and whose answer was lost.
func (t *Table) settled(ctx context.Context, instant string) error {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	for range claimTries {
		err := t.learn(ctx)
		if d := c.record.Decided; err == nil && d != nil && strings.HasPrefix(d.File, instant) {
			err = t.carryOutFree(ctx)
		}
		if !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	return t.claimLost(instant)
}
