package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// Stop is a table that stopped, as the record <lake>/_lakefeed/stopped/<pipeline>
// keeps it for those who look when the process has ended. There is no record while
// no table stands.
type Stop struct {
	Since time.Time  `json:"since"`
	Why   string     `json:"why"`
	to    change.LSN // where the round ends in which it failed
}

func stoppedName(pipeline string) string { return "_lakefeed/stopped/" + folderName(pipeline) }

// ReadStopped is the tables of a pipeline that stopped, by source name.
func ReadStopped(ctx context.Context, lake storage.Store, pipeline string) (map[string]Stop, error) {
	stops := map[string]Stop{}
	err := eachStream(ctx, lake, pipeline, func(key string) error {
		some, err := readStopped(ctx, lake, key)
		maps.Copy(stops, some)
		return err
	})
	return stops, err
}

func readStopped(ctx context.Context, lake storage.Store, pipeline string) (map[string]Stop, error) {
	b, _, err := lake.Get(ctx, stoppedName(pipeline))
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which tables stopped: %w", err)
	}
	var stops map[string]Stop
	if err := json.Unmarshal(b, &stops); err != nil {
		return nil, fmt.Errorf("read which tables stopped: %w; it is for people only: remove the file", &hudi.CorruptError{File: stoppedName(pipeline), Err: err})
	}
	return stops, nil
}

// recallStops takes over since when tables have stood that may stop again.
func (p *Pipeline) recallStops(ctx context.Context) {
	stops, err := readStopped(ctx, p.opts.Lake, p.opts.key())
	if err != nil {
		p.log.Warn("since when tables have stopped is not known", "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops, p.noted = map[string]Stop{}, stops
	maps.Copy(p.stops, stops)
}

// noteStop notes that a table stopped, and returns since when it stands. One that is
// tried again and stops again has stood all the time.
func (p *Pipeline) noteStop(name string, err error) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	stop, again := p.stops[name]
	if !again {
		stop.Since = time.Now().UTC()
	}
	stop.Why, stop.to = err.Error(), p.writing
	p.stops[name] = stop
	return stop.Since
}

// forgetStops forgets the stops of tables that go on: what they failed at is written.
func (p *Pipeline) forgetStops(written change.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, stop := range p.stops {
		if t := p.byName[name]; t == nil || !t.failed() && written >= stop.to {
			delete(p.stops, name)
		}
	}
}

// recordStops writes the record where it has changed. It is for people: without it
// nothing is lost, and a lake that cannot be written has been reported.
func (p *Pipeline) recordStops(ctx context.Context) {
	p.mu.Lock()
	stops := maps.Clone(p.stops)
	same := maps.EqualFunc(stops, p.noted, func(a, b Stop) bool { return a.Since.Equal(b.Since) && a.Why == b.Why })
	p.mu.Unlock()
	if same {
		return
	}
	err := p.writeStops(ctx, stops)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.noted, p.noteErr = stops, ""
		return
	}
	if text := err.Error(); text != p.noteErr { // every round tries again
		p.noteErr = text
		p.log.Warn("cannot note in the lake which tables have stopped", "error", err)
	}
}

func (p *Pipeline) writeStops(ctx context.Context, stops map[string]Stop) error {
	if len(stops) == 0 {
		if err := p.opts.Lake.Delete(ctx, stoppedName(p.opts.key())); !errors.Is(err, storage.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.MarshalIndent(stops, "", "  ")
	if err != nil {
		return err
	}
	return p.opts.Lake.Put(ctx, stoppedName(p.opts.key()), b)
}
