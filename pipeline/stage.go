package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lakefeed/change"
	"lakefeed/storage"
)

// A large table is copied in chunks, see docs/adr/0019. What was read of them is staged in
// the lake, in a folder of the table's own: the stage's head, which has the plan, and for each
// part of a chunk its rows (stage_run.go) and then its entry. What has no entry was not read.

// stageFolder holds the stages of all pipelines.
const stageFolder = "_lakefeed/bootstrap"

const stageHeadName = "stage.json"

// stage is a copy in chunks, as far as it is.
type stage struct {
	store storage.Store // its folder
	head  stageHead
	done  map[string]*stageEntry // by name
}

// stageHead is what all parts of a stage share.
type stageHead struct {
	Pipeline string          `json:"pipeline"`
	Table    string          `json:"table"`
	Source   change.Identity `json:"source"`
	From     change.LSN      `json:"from"`             // no part shows less than all that commits before it
	Resync   change.LSN      `json:"resync,omitzero"`  // the order that the copy is for
	Copied   change.LSN      `json:"copied,omitzero"`  // the snapshot of the table's copy before
	Removed  bool            `json:"removed,omitzero"` // that copy was taken away, for the table to be made anew
	Layout   string          `json:"layout"`           // of rows and runs: another one is of no use
	Buckets  int             `json:"buckets"`          // that rows are sorted by; 0: by partition alone
	Lanes    int             `json:"lanes"`            // in each run
	Plan     change.CopyPlan `json:"plan"`             // chunks keep their numbers
	Begun    time.Time       `json:"begun"`
	// Links are those of the partitions: one that was taken away and put back may have changed meanwhile.
	Links map[uint32]string `json:"links,omitempty"`
}

// stageEntry is a part of a chunk that was read.
type stageEntry struct {
	Chunk change.CopyChunk `json:"chunk"` // what was read of it
	At    change.LSN       `json:"at"`    // the snapshot under which it was, or up to where it may show more
	runSize
	Lanes []stageLane `json:"lanes,omitempty"`
	// Partitions are those of the table in the lake that its rows are in.
	Partitions []string `json:"partitions,omitempty"`
}

// stageLane is where a lane lies in a run.
type stageLane struct {
	From int64  `json:"from"`
	Size int64  `json:"size"`
	Sum  uint32 `json:"sum"` // CRC-32C
}

// stagePart is a part of a chunk that is to be read.
type stagePart struct {
	name  string
	chunk change.CopyChunk
}

func (p *Pipeline) stageStore(table string) storage.Store {
	return storage.Sub(p.opts.Lake, stageFolder+"/"+folderName(p.opts.Name)+"/"+tableFolder(table))
}

// readStage reads a stage; nil where there is none that can be read.
func (p *Pipeline) readStage(ctx context.Context, table string) (*stage, error) {
	s := &stage{store: p.stageStore(table), done: map[string]*stageEntry{}}
	b, _, err := s.store.Get(ctx, stageHeadName)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil //nolint:nilnil // the common case
	}
	if err != nil {
		return nil, fmt.Errorf("read what was copied of %s: %w", table, &LakeError{err})
	}
	if err := json.Unmarshal(b, &s.head); err != nil {
		p.log.Warn("what was copied of a table cannot be read, and is copied anew", "table", table, "error", err)
		return nil, nil //nolint:nilnil // nothing that is of use
	}
	return s, nil
}

// readEntries reads which parts are there. One that cannot be read is read of the source again.
func (s *stage) readEntries(ctx context.Context) error {
	for info, err := range s.store.List(ctx, "", false) {
		if err != nil {
			return fmt.Errorf("list what was copied, %s: %w", s.store, &LakeError{err})
		}
		name, ok := strings.CutSuffix(info.Name, ".json")
		if !ok || info.Name == stageHeadName {
			continue
		}
		b, _, err := s.store.Get(ctx, info.Name)
		if err != nil {
			return fmt.Errorf("read what was copied, %s: %w", s.store, &LakeError{err})
		}
		e := new(stageEntry)
		if json.Unmarshal(b, e) == nil && (e.Rows == 0 || len(e.Lanes) == s.head.Lanes) {
			s.done[name] = e
		}
	}
	return nil
}

// write makes the head durable.
func (h *stageHead) write(ctx context.Context, store storage.Store) error {
	return putJSON(ctx, store, stageHeadName, h)
}

func putJSON(ctx context.Context, store storage.Store, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := store.Put(ctx, name, b); err != nil {
		return fmt.Errorf("write %s of %s: %w", name, store, &LakeError{err})
	}
	return nil
}

// partName names part n of a chunk. The parts of a chunk are read one behind the other.
func partName(chunk, n int) string { return fmt.Sprintf("%06d-%03d", chunk, n) }

// missing are the parts of all chunks that are to be read still.
func (s *stage) missing() (parts []stagePart) {
	for i, c := range s.head.Plan.Chunks {
		if part := s.rest(i, c); part != nil {
			parts = append(parts, *part)
		}
	}
	return parts
}

// rest is what is to be read still of a chunk, nil where that is nothing.
func (s *stage) rest(i int, c change.CopyChunk) *stagePart {
	left := c
	for n := 0; ; n++ {
		e := s.done[partName(i, n)]
		if e == nil || !e.begins(left) {
			return &stagePart{partName(i, n), left}
		}
		if e.Chunk.To == c.To || c.Whole {
			return nil
		}
		left = behind(left, e.Chunk.To)
	}
}

// begins reports whether the part is the next one of a chunk of which something is left: an older
// one, behind a part that was read again and ended elsewhere, is not.
func (e *stageEntry) begins(left change.CopyChunk) bool {
	return e.Chunk.Table == left.Table && (left.Whole || e.Chunk.From == left.From)
}

// behind is what is left of a chunk from a block on.
func behind(c change.CopyChunk, block int64) change.CopyChunk {
	blocks := max(c.Blocks-(block-c.From), 1)
	if had := max(c.Blocks, 1); had > 0 {
		c.Rows, c.Bytes = c.Rows*blocks/had, max(c.Bytes*blocks/had, 1)
	}
	c.From, c.Blocks = block, blocks
	return c
}

// entries are those of the parts that count, in a stable order, with their names.
func (s *stage) entries() (names []string) {
	for i, c := range s.head.Plan.Chunks {
		left := c
		for n := 0; ; n++ {
			e := s.done[partName(i, n)]
			if e == nil || !e.begins(left) {
				break
			}
			names = append(names, partName(i, n))
			if e.Chunk.To == c.To || c.Whole {
				break
			}
			left = behind(left, e.Chunk.To)
		}
	}
	return names
}

// parts is how many parts of chunks are staged; nil: none.
func (s *stage) parts() int {
	if s == nil {
		return 0
	}
	return len(s.done)
}

// counted is how many rows are staged.
func (s *stage) counted() (rows int64) {
	for _, name := range s.entries() {
		rows += s.done[name].Rows
	}
	return rows
}

// exact reports whether all parts were read under one snapshot, at a position.
func (s *stage) exact(at change.LSN) bool {
	return s.head.From == at && !slices.ContainsFunc(s.entries(), func(name string) bool { return s.done[name].At != at })
}

// beyond reports whether a part may show what commits behind a position.
func (s *stage) beyond(at change.LSN) bool {
	return slices.ContainsFunc(s.entries(), func(name string) bool { return s.done[name].At > at })
}

// adopt takes on the plan of a version of the table: a partition that came is read as well. One
// that is gone, was taken away for a while or was written anew makes the stage useless, which the error says.
func (s *stage) adopt(plan *change.CopyPlan, v *change.Table) error {
	links := linksOf(v)
	for leaf, link := range s.head.Links {
		if links[leaf] != link {
			return &staleError{why: "a partition was taken away since, or put back"}
		}
	}
	if len(s.head.Links) == 0 && len(links) > 0 && len(s.done) > 0 {
		return &staleError{why: "where its partitions were is not known"}
	}
	now := map[uint32]string{}
	for _, c := range plan.Chunks {
		now[c.Table] = c.File
	}
	had := map[uint32]bool{}
	for _, c := range s.head.Plan.Chunks {
		if file, there := now[c.Table]; !there || file != c.File {
			return &staleError{why: c.Name + " was written anew, emptied or taken away since"}
		}
		had[c.Table] = true
	}
	s.head.Links = links
	for _, c := range plan.Chunks {
		if !had[c.Table] && s.head.Layout == takeOverLayout && (c.Blocks > 0 || c.Rows > 0) {
			return &staleError{why: "partition " + c.Name + " came since, and whether its rows are in the log is not known"}
		}
		if !had[c.Table] {
			s.head.Plan.Chunks = append(s.head.Plan.Chunks, c)
			s.head.Plan.Rows, s.head.Plan.Bytes = s.head.Plan.Rows+c.Rows, s.head.Plan.Bytes+c.Bytes
		}
	}
	return nil
}

// linksOf are the links of a table's partitions; nil where it has none.
func linksOf(v *change.Table) map[uint32]string {
	if len(v.Leaves) == 0 {
		return nil
	}
	links := map[uint32]string{}
	for _, l := range v.Leaves {
		links[l.ID] = l.Link
	}
	return links
}

// staleError says that what is staged of a table is of no use any more.
type staleError struct {
	why  string
	once bool // it is to be copied in one pass
}

// Error says why.
func (e *staleError) Error() string { return "what was copied of it so far is of no use: " + e.why }

// layoutText changes with whatever makes a run of another layout.
func (t *target) layoutText(buckets, lanes int) string {
	h := sha256.New()
	v := t.shows.read()
	for _, c := range append(slices.Clone(v.Columns), v.Left...) {
		_, _ = fmt.Fprintf(h, "%q %q %v %d %q %v\n", c.Name, c.Type, c.Arrow, c.ID, c.Shape, c.Nullable)
	}
	_, _ = fmt.Fprintln(h, v.ID, v.Key, v.KeyKind, t.copySchema(), t.partitions, buckets, lanes, t.table.Type())
	return hex.EncodeToString(h.Sum(nil))
}

// noteRemoved notes that what the lake has of a table is about to be taken away for what is staged: it is no
// copy that was made since. Of a table of which nothing is staged, or nothing is there, nothing is noted.
func (s *stage) noteRemoved(ctx context.Context, t *target) error {
	if s == nil || t.at.LSN == 0 || s.head.Removed {
		return nil
	}
	s.head.Removed = true
	return s.head.write(ctx, s.store)
}

// voidStage makes a stage useless, whatever becomes of this process.
func (p *Pipeline) voidStage(ctx context.Context, t *target) error {
	if err := p.stageStore(t.name).Delete(ctx, stageHeadName); err != nil {
		return fmt.Errorf("take back what was copied of %s: %w", t.name, &LakeError{err})
	}
	t.staged.Store(false)
	return nil
}

// voidUseless makes stages useless that are not gone on with. Before the source may forget anything more:
// changes of these tables are passed over, and a start would take a stage for one that has all.
func (p *Pipeline) voidUseless(ctx context.Context) error {
	for _, t := range p.targets {
		if t.job || t.stage != nil || !t.staged.Load() {
			continue
		}
		err := p.voidStage(ctx, t)
		if err != nil && p.spool.own {
			err = p.spool.store.Put(ctx, stagesVoid, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// voidStages makes all stages useless: the log that they need is gone.
func (p *Pipeline) voidStages(ctx context.Context) error {
	var err error
	for _, t := range p.targets {
		err = errors.Join(err, p.voidStage(ctx, t))
	}
	return err
}

// checkStaged takes back what was copied of tables that were not published for a while since:
// changes of them are in no log.
func (p *Pipeline) checkStaged(ctx context.Context, prepared *change.Prepared) error {
	for _, t := range p.targets {
		if t.stage == nil {
			continue
		}
		had, now := t.howPublished(), prepared.Published[t.source.ID]
		if had != nil && had.Same(now) {
			continue
		}
		p.log.Info("a copy that was interrupted begins anew", "table", t.name, "because", "somebody changed how it is published")
		t.stage = nil
		if err := p.voidStage(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// beginStage begins a stage in the place of any other: head says what it is for.
func (p *Pipeline) beginStage(ctx context.Context, t *target, head stageHead) error {
	if err := p.removeStage(ctx, t); err != nil {
		return err
	}
	head.Pipeline, head.Table, head.Source = p.opts.Name, t.name, p.source
	head.Resync, head.Copied, head.Lanes, head.Begun = p.orderOf(t.name).Resync, t.at.Copied, stageLanes, time.Now().UTC()
	s := &stage{store: p.stageStore(t.name), done: map[string]*stageEntry{}, head: head}
	t.staged.Store(true)
	if err := head.write(ctx, s.store); err != nil {
		return err
	}
	t.stage = s
	return nil
}

// removeStage removes a stage with all that it has, its head first.
func (p *Pipeline) removeStage(ctx context.Context, t *target) error {
	if err := p.voidStage(ctx, t); err != nil {
		return err
	}
	if err := p.stageStore(t.name).DeleteAll(ctx, ""); err != nil {
		return fmt.Errorf("remove what was copied of %s: %w", t.name, &LakeError{err})
	}
	return nil
}

// stagesVoid names a file of a spool of its own: a start without the lake, which saw no stages,
// may have let changes pass that they need.
const stagesVoid = "stages-void"

// stagesOfUse are the folders of the stages that the lake has, none where it is away. Those
// that a start without the lake has made useless are taken back first.
func (p *Pipeline) stagesOfUse(ctx context.Context) (map[string]bool, error) {
	there, err := p.stagesThere(ctx)
	if !p.spool.own {
		return there, err
	}
	if err != nil {
		if cause := p.spool.store.Put(ctx, stagesVoid, nil); cause != nil {
			return nil, errors.Join(err, cause)
		}
		return nil, nil
	}
	switch _, _, err := p.spool.store.Get(ctx, stagesVoid); {
	case errors.Is(err, storage.ErrNotExist):
		return there, nil
	case err != nil:
		return nil, fmt.Errorf("look into the spool %s: %w", p.spool.store, p.spool.failed(err))
	}
	if err := p.voidStages(ctx); err != nil {
		return nil, err
	}
	return there, p.spool.store.Delete(ctx, stagesVoid)
}

// stagesThere are the folders of the stages that the lake has.
func (p *Pipeline) stagesThere(ctx context.Context) (map[string]bool, error) {
	names, err := p.opts.Lake.Dirs(ctx, stageFolder+"/"+folderName(p.opts.Name))
	if err != nil {
		return nil, fmt.Errorf("look for copies that were interrupted: %w", &LakeError{err})
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	return there, nil
}

// stageFor is the stage that a table's copy goes on with, nil where it begins anew. One that
// is of no use is removed.
func (p *Pipeline) stageFor(ctx context.Context, t *target, segs []segment, record *progress) (*stage, error) {
	s, err := p.readStage(ctx, t.name)
	if err != nil {
		return nil, err
	}
	why := "it cannot be read"
	if s != nil {
		why = p.unfit(t, s, segs, record)
	}
	if why == "" {
		err := s.readEntries(ctx)
		return s, err
	}
	p.log.Info("a copy that was interrupted begins anew", "table", t.name, "because", why)
	return nil, p.removeStage(ctx, t)
}

// unfit says why a stage is of no use; "" where it is of use.
func (p *Pipeline) unfit(t *target, s *stage, segs []segment, record *progress) string {
	order := p.orderOf(t.name)
	note, stopped := record.stopped(t.name)
	h := &s.head
	switch {
	case record == nil || record.Remake || record.Starting:
		return "the slot is made anew"
	case h.Pipeline != p.opts.Name || h.Table != t.name || h.Source != p.source:
		return "it is of another source"
	case h.Resync != order.Resync || h.Copied != t.at.Copied && (t.at.LSN != 0 || !h.Removed):
		return "the table was copied since, or is to be copied for another reason"
	case t.failed() || t.settled:
		return "the table has stopped"
	case order.Resync == 0 && (t.at.LSN != 0 || t.mine) && (!stopped || !note.Recopy || note.fulfilled(t)):
		return "the table needs no copy"
	}
	return s.lacks(segs, record.Spooled[t.name])
}

// lacks says of which changes the spool should have had and has not; "" where it has all.
func (s *stage) lacks(segs []segment, expected change.LSN) string {
	end := s.head.From
	for i, seg := range segs {
		if i == 0 && seg.from > end || i > 0 && seg.from != end {
			return fmt.Sprintf("the spool lacks its changes before %s", seg.from)
		}
		end = seg.to
	}
	if expected > end || expected != 0 && len(segs) == 0 {
		return fmt.Sprintf("the spool lacks its changes before %s", expected)
	}
	return ""
}

// stopped is why a table waits for a new copy.
func (r *progress) stopped(table string) (stopNote, bool) {
	if r == nil {
		return stopNote{}, false
	}
	note, ok := r.Stopped[table]
	return note, ok
}

// takeStaged lets a table's copy go on, and takes in the changes that came since it began.
func (p *Pipeline) takeStaged(ctx context.Context, t *target, s *stage, segs []segment) error {
	if len(segs) > 0 {
		first, err := p.spool.head(ctx, t.name, segs[0])
		last, err2 := p.spool.head(ctx, t.name, segs[len(segs)-1])
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		segs[0].oldest, t.spooledLast, t.spooledSource = first.Oldest, last.Last, last.Source
		t.safe = segs[len(segs)-1].to
	}
	p.recopy(t, "its copy was interrupted, and goes on")
	t.segments, t.stage = segs, s
	t.staged.Store(true)
	rows := s.counted()
	t.report(func(st *TableStatus) { st.CopyRows = rows })
	return nil
}
