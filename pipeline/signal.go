package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"lakefeed/change"
)

// Signals are Debezium's: rows of a table of the source that ask for something, and come in their place in
// the stream. What each asks for is in the lake before the source may forget it, with its position: a
// start neither loses one nor obeys it twice.

// The types of signals.
const (
	executeSnapshot = "execute-snapshot"
	stopSnapshot    = "stop-snapshot"
	pauseSnapshot   = "pause-snapshot"
	resumeSnapshot  = "resume-snapshot"
	logSignal       = "log"
)

// SignalStatus is the newest signal in a [Status].
type SignalStatus struct {
	ID    string    `json:"id"`
	Type  string    `json:"type"`
	LSN   string    `json:"lsn"` // the commit of its row
	Time  time.Time `json:"time"`
	Did   string    `json:"did,omitempty"`   // what came of it
	Error string    `json:"error,omitempty"` // why nothing, or not all of it, did
}

// signalMark is up to where signals were obeyed, in the record of snapshots.
type signalMark struct {
	Source change.Identity `json:"source"`
	Commit change.LSN      `json:"commit"`
	Index  uint64          `json:"index"`
}

func (m *signalMark) covers(id change.Identity, at change.Position) bool {
	return m != nil && m.Source == id && at.Compare(change.Position{Commit: m.Commit, Index: m.Index}) <= 0
}

// signalData is what a signal says beside its type.
type signalData struct {
	Collections []string `json:"data-collections"`
	Type        string   `json:"type"`
	Conditions  []struct {
		Collection string `json:"data-collection"`
		Filter     string `json:"filter"`
	} `json:"additional-conditions"`
	Condition string `json:"additional-condition"` // before Debezium 2.3, for all collections
	Message   string `json:"message"`

	patterns []*regexp.Regexp
	filters  []*regexp.Regexp
}

// parseSignal reads what a signal says.
func parseSignal(s change.Signal) (*signalData, error) {
	d := new(signalData)
	if s.Err != nil {
		return nil, fmt.Errorf("its row cannot be read: %w", s.Err)
	}
	if strings.TrimSpace(s.Data) != "" {
		if err := json.Unmarshal([]byte(s.Data), d); err != nil {
			return nil, fmt.Errorf("its data is not the JSON of such a signal: %w", err)
		}
	}
	switch kind := strings.ToLower(d.Type); {
	case s.Type == logSignal:
	case kind != "" && kind != "incremental" && kind != "blocking":
		return nil, fmt.Errorf("type %q in its data: want incremental or blocking", d.Type)
	case s.Type == executeSnapshot && len(d.Collections) == 0:
		return nil, errors.New("its data names no data-collections")
	}
	for _, text := range d.Collections {
		p, err := collection(text)
		if err != nil {
			return nil, err
		}
		d.patterns = append(d.patterns, p)
	}
	for _, c := range d.Conditions {
		p, err := collection(c.Collection)
		if err != nil {
			return nil, err
		}
		d.filters = append(d.filters, p)
	}
	return d, nil
}

// collection is a regular expression that the whole name of a table matches.
func collection(text string) (*regexp.Regexp, error) {
	p, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return nil, fmt.Errorf("data-collection %q: %w", text, err)
	}
	return p, nil
}

// takes reports whether a signal is about a table; one that names none is about all.
func (d *signalData) takes(table string) bool {
	return len(d.patterns) == 0 || slices.ContainsFunc(d.patterns, func(p *regexp.Regexp) bool { return p.MatchString(table) })
}

// where is the condition for the rows of a table, empty for all.
func (d *signalData) where(table string) string {
	for i, p := range d.filters {
		if p.MatchString(table) && d.Conditions[i].Filter != "" {
			return d.Conditions[i].Filter
		}
	}
	return d.Condition
}

// obeySignals does what signals of rounds that are written ask for. Where the lake does not take it, it waits,
// and the source keeps what it waits for.
func (p *Pipeline) obeySignals(ctx context.Context, fresh []change.Signal) {
	inc := &p.incremental
	inc.signals = append(inc.signals, fresh...)
	for len(inc.signals) > 0 {
		if err := p.obeySignal(ctx, inc.signals[0]); err != nil {
			if !inc.told {
				p.log.Warn("a signal waits until the lake can note what it asks for", "id", inc.signals[0].ID, "error", err)
			}
			inc.told = true
			return
		}
		inc.signals, inc.told = inc.signals[1:], false
	}
}

// obeySignal does what one signal asks for; an error is the lake's.
func (p *Pipeline) obeySignal(ctx context.Context, s change.Signal) error {
	inc := &p.incremental
	inc.mu.Lock()
	had := inc.record.Signals.covers(p.source, s.At)
	inc.mu.Unlock()
	if had {
		return nil
	}
	d, err := parseSignal(s)
	did, next := "", func(*snapshotRecord) {}
	if err == nil {
		switch s.Type {
		case executeSnapshot:
			did, next, err = p.execute(ctx, s, d)
		case stopSnapshot, pauseSnapshot, resumeSnapshot:
			did, next = s.Type, steering(s.Type, d.takes)
		case logSignal:
			did = strings.ReplaceAll(d.Message, "{}", s.At.Commit.String())
			p.log.Info("signal", "id", s.ID, "message", did)
		default:
			err = fmt.Errorf("no signals of type %q are known: want %s, %s, %s, %s or %s", s.Type, executeSnapshot, stopSnapshot, pauseSnapshot, resumeSnapshot, logSignal)
		}
	}
	if lake, ofLake := errors.AsType[*LakeError](err); ofLake {
		return lake
	}
	noted := inc.change(ctx, p, func(r *snapshotRecord) {
		next(r)
		r.Signals = &signalMark{Source: p.source, Commit: s.At.Commit, Index: s.At.Index}
	})
	if noted != nil {
		return noted
	}
	p.phase("signal noted")
	p.steered()
	p.showSignal(s, did, err)
	return nil
}

// showSignal tells what came of a signal.
func (p *Pipeline) showSignal(s change.Signal, did string, err error) {
	st := &SignalStatus{ID: s.ID, Type: s.Type, LSN: s.At.Commit.String(), Time: time.Now().UTC(), Did: did}
	if err != nil {
		st.Error = err.Error()
		p.log.Warn("a signal cannot be obeyed", "id", s.ID, "type", s.Type, "lsn", st.LSN, "error", err)
	} else {
		p.log.Info("a signal is obeyed", "id", s.ID, "type", s.Type, "lsn", st.LSN, "did", did)
	}
	p.incremental.mu.Lock()
	defer p.incremental.mu.Unlock()
	p.incremental.signal = st
}

// execute is what execute-snapshot changes: whole tables are copied anew, those that were removed are
// followed again, and of others the rows that meet a condition are read anew.
func (p *Pipeline) execute(ctx context.Context, s change.Signal, d *signalData) (did string, next func(*snapshotRecord), err error) {
	var made []Snapshot
	var done []string
	var failed error
	for _, table := range p.signalled(d) {
		where, t := d.where(table), p.targetNamed(table)
		switch {
		case where == "" || t == nil: // one that was removed has no rows to begin with
			if err := p.resyncSince(ctx, table, s.At.Commit); err != nil {
				if lake, ofLake := errors.AsType[*LakeError](err); ofLake {
					return "", nil, lake
				}
				failed = errors.Join(failed, fmt.Errorf("%s: %w", table, err))
				continue
			}
			done = append(done, table+" is copied anew")
		case t.source.KeyKind == change.NoKey:
			failed = errors.Join(failed, &noKeyError{t.source})
		default:
			id := fmt.Sprintf("%s@%s.%d %s", s.ID, s.At.Commit, s.At.Index, table)
			made = append(made, Snapshot{ID: id, Table: table, Where: where, Asked: time.Now().UTC()})
			done = append(done, "rows of "+table+" are read anew")
		}
	}
	if len(done) == 0 && failed == nil {
		failed = fmt.Errorf("no table of the pipeline matches %q", d.Collections)
	}
	return joined(done), func(r *snapshotRecord) { r.Snapshots = append(r.Snapshots, made...) }, failed
}

// signalled are the tables that a signal is about, those that were removed among them. That of logical messages
// is not: a copy of it would be empty, and take the place of those that are there.
func (p *Pipeline) signalled(d *signalData) []string {
	names := map[string]bool{}
	p.mu.Lock()
	for name := range p.byName {
		names[name] = d.takes(name)
	}
	for name, o := range p.orders {
		names[name] = (names[name] || o.Removed) && d.takes(name)
	}
	p.mu.Unlock()
	delete(names, messagesTable)
	maps.DeleteFunc(names, func(_ string, takes bool) bool { return !takes })
	return slices.Sorted(maps.Keys(names))
}

// resyncSince orders a copy that shows all of before a position. A copy that does is there after a
// start that meets the same signal once more.
func (p *Pipeline) resyncSince(ctx context.Context, table string, at change.LSN) error {
	if t := p.targetNamed(table); t != nil && t.at.Copied >= at {
		return nil
	}
	_, err := p.order(ctx, table, func(o Order) (Order, error) {
		if o.Resync >= at && !o.Removed {
			return o, nil
		}
		verb := Resync
		if o.Removed {
			verb = Add
		}
		o, err := verb.apply(o, at, "")
		o.Fresh = false
		return o, err
	})
	p.awake()
	return err
}

func (i *incremental) newestSignal() *SignalStatus {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signal
}
