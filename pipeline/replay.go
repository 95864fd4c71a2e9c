package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// A replay reads the rows that are in quarantine from the source as they are now. They
// are read under a snapshot, and take their place in the stream where it was made: what
// committed before comes before them, what comes after is newer. So it does no harm to
// replay twice, or to die on the way.

// replayRequest is <lake>/_lakefeed/replay/<pipeline>: the next start of the pipeline, or
// the one that runs, replays. It is removed when that is in the lake.
type replayRequest struct {
	Tables []string  `json:"tables,omitempty"` // none: all
	Asked  time.Time `json:"asked"`
}

func replayName(pipeline string) string { return "_lakefeed/replay/" + folderName(pipeline) }

// RequestReplay asks the pipeline that feeds a lake, or will, to replay the quarantines of
// tables, of all where there are none.
func RequestReplay(ctx context.Context, lake storage.Store, pipeline string, tables []string) error {
	b, err := json.Marshal(replayRequest{Tables: tables, Asked: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode the request for a replay: %w", err)
	}
	return eachStream(ctx, lake, pipeline, func(key string) error {
		if err := lake.Put(ctx, replayName(key), b); err != nil {
			return fmt.Errorf("ask for a replay: %w", err)
		}
		return nil
	})
}

// ReplayPending reports whether a replay was asked for and is not in the lake yet.
func ReplayPending(ctx context.Context, lake storage.Store, pipeline string) (bool, error) {
	pending := false
	err := eachStream(ctx, lake, pipeline, func(key string) error {
		r, err := readReplay(ctx, lake, key)
		pending = pending || r != nil
		return err
	})
	return pending, err
}

func readReplay(ctx context.Context, lake storage.Store, pipeline string) (*replayRequest, error) {
	b, _, err := lake.Get(ctx, replayName(pipeline))
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a replay that was asked for: %w", &LakeError{err})
	}
	r := new(replayRequest)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read the request for a replay: %w; remove it, and ask again", &hudi.CorruptError{File: replayName(pipeline), Err: err})
	}
	return r, nil
}

// replay is the rows that were read, on disk until the stream has come to their place.
type replay struct {
	at    change.LSN
	files map[*target]*spillFile
	dir   string
}

// startReplay reads the rows that a request is for. A table whose rows cannot be read
// goes on without them, and the request is done with.
func (p *Pipeline) startReplay(ctx context.Context) error {
	p.replay, p.replayLeft = nil, nil
	p.replaying.Store(false)
	if p.opts.Until != 0 || p.away() {
		return nil
	}
	asked, err := readReplay(ctx, p.opts.Lake, p.opts.key())
	if err != nil || asked == nil {
		return err
	}
	p.replaying.Store(true)
	targets := slices.DeleteFunc(slices.Clone(p.targets), func(t *target) bool {
		return t.failed() || len(t.quarantine.keys) == 0 || t.source.KeyKind == change.NoKey ||
			len(asked.Tables) > 0 && !slices.Contains(asked.Tables, t.name)
	})
	r := &replay{files: map[*target]*spillFile{}, dir: p.spillDir}
	if p.replay = r; len(targets) == 0 {
		return nil
	}
	if r.at, err = p.openSnapshotSoon(ctx); errors.Is(err, errBusy) {
		p.log.Warn("rows in quarantine are replayed later: transactions that write have been open for longer than a snapshot may wait for", "again in", replayAgain)
		p.replay, p.replayLeft = nil, errReplayLeft
		p.replayNext.Store(new(time.Now().Add(replayAgain)))
		p.replaying.Store(false)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open snapshot for a replay: %w", err)
	}
	for _, t := range targets {
		if err := p.readAgain(ctx, r, t); err != nil {
			if p.retryable(err) || ctx.Err() != nil {
				return errors.Join(err, p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)))
			}
			p.log.Error("rows in quarantine cannot be replayed", "table", t.name, "error", err)
		}
	}
	return p.opts.Source.CloseSnapshot(ctx)
}

// A snapshot waits for all transactions that write in the server, and the stream for the snapshot: for
// so long at most. It is tried again when the request is next looked at after a while.
const (
	replayPatience = 5 * time.Second
	replayAgain    = 2 * time.Minute
)

// errReplayLeft is how Once ends that has left a replay to the next run.
var errReplayLeft = errors.New("rows in quarantine were not replayed, which the next run does: transactions that write have been open for longer than a snapshot may wait for; everything else is in the lake")

// errBusy is a server of which a snapshot cannot be had soon.
var errBusy = errors.New("there is no snapshot to be had soon")

func (p *Pipeline) openSnapshotSoon(ctx context.Context) (change.LSN, error) {
	soon, cancel := context.WithTimeout(ctx, replayPatience)
	defer cancel()
	at, err := p.opts.Source.OpenSnapshot(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return 0, errBusy
	}
	return at, err
}

// readAgain reads the present state of the rows in a table's quarantine.
func (p *Pipeline) readAgain(ctx context.Context, r *replay, t *target) error {
	keys, err := quarantinedKeys(ctx, t.quarantine.table)
	if err != nil {
		return err
	}
	f, err := createSpillFile(filepath.Join(r.dir, fmt.Sprintf("replay-%d.arrow", len(r.files))))
	if err != nil {
		return err
	}
	rows := 0
	err = p.opts.Source.CopyKeys(ctx, t.source, keys, func(b *change.Batch) error {
		keys, err := recordKeys(b)
		if err != nil {
			return err
		}
		rows += b.Len()
		_, err = f.write(b.Table, spillRecord(&slab{Batch: b, keys: keys, route: make([]uint64, b.Len())}))
		return err
	})
	if err == nil {
		err = f.close()
	}
	if err != nil {
		return errors.Join(err, f.f.Close())
	}
	p.log.Info("rows in quarantine are read again", "table", t.name, "quarantined", len(keys), "there", rows, "lsn", r.at)
	r.files[t] = f
	return nil
}

// quarantinedKeys are the values of the keys in a quarantine.
func quarantinedKeys(ctx context.Context, t *hudi.Table) (keys [][]string, err error) {
	err = eachQuarantined(ctx, t, []string{qSource}, func(rec arrow.RecordBatch) error {
		texts := rec.Column(0).(*array.String)
		for row := range texts.Len() {
			var key []string
			if err := json.Unmarshal([]byte(texts.Value(row)), &key); err != nil {
				return fmt.Errorf("read a key: %w", err)
			}
			keys = append(keys, key)
		}
		return nil
	})
	return keys, err
}

// place puts a table's rows into the round.
func (p *Pipeline) placeReplay(r *round, t *target) error {
	f := p.replay.files[t]
	delete(p.replay.files, t)
	if f == nil || t.failed() {
		return nil
	}
	err := f.read(func(s *slab) error { return p.takeBatch(r, t, s.Batch) })
	return errors.Join(err, f.f.Close())
}

// placeReplays puts the rows into the round whose place the stream has reached.
func (p *Pipeline) placeReplays(r *round, c *change.Chunk) error {
	if p.replay == nil || !c.Whole || c.End < p.replay.at {
		return nil
	}
	for t := range p.replay.files {
		if err := p.placeReplay(r, t); err != nil {
			return err
		}
	}
	p.replay = nil
	r.replayed = true
	return nil
}

// takeReplayed takes a batch with the replayed rows of its table in their place.
func (p *Pipeline) takeReplayed(r *round, t *target, b *change.Batch) error {
	if p.replay == nil || p.replay.files[t] == nil || b.At[b.Len()-1].Commit < p.replay.at {
		return p.takeBatch(r, t, b)
	}
	before, rest := b.Split(p.replay.at)
	if before != nil {
		if err := p.takeBatch(r, t, before); err != nil {
			return err
		}
	}
	if err := p.placeReplay(r, t); err != nil {
		return err
	}
	return p.takeBatch(r, t, rest)
}

// endReplay is done with the request whose rows a round has brought into the lake.
func (p *Pipeline) endReplay(ctx context.Context, r *round) error {
	if !r.replayed {
		return nil
	}
	p.replaying.Store(false)
	if err := p.opts.Lake.Delete(ctx, replayName(p.opts.key())); err != nil && !errors.Is(err, storage.ErrNotExist) {
		return fmt.Errorf("be done with a replay: %w", &LakeError{err})
	}
	return nil
}

// watchReplay looks whether a replay is asked for.
func (p *Pipeline) watchReplay(ctx context.Context) {
	if next := p.replayNext.Load(); p.replaying.Load() || next != nil && time.Now().Before(*next) {
		return
	}
	if asked, err := readReplay(ctx, p.opts.Lake, p.opts.key()); err == nil && asked != nil {
		p.replayAsked.Store(true)
	}
}
