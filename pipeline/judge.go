package pipeline

import (
	"context"

	"lakefeed/change"
)

// judge stops the tables that are in the source no longer what they are in the lake, as
// the next start would, by a look at the source's catalogs. It waits until the lake
// holds everything up to the look: what the log brings by itself has then come, and what
// has not come is not in it. The description of a table that has committed beyond the look
// may be newer than that, and is left to the next one: see [target.meetNewer].
func (p *Pipeline) judge(ctx context.Context, written change.LSN) {
	look := p.looked.Load()
	if look == nil || written < look.At {
		return
	}
	p.looked.Store(nil) // only the watcher puts another one there
	tables, names := map[string]*change.Table{}, look.Others
	for _, v := range look.Tables {
		tables[v.String()], names[v.ID] = v, v.String()
	}
	w := p.incremental.window.Load()
	for _, t := range p.all() {
		if t.source.LogOnly {
			continue // catalogs do not have it
		}
		v := tables[t.name]
		if w != nil && v != nil && w.table.String() == t.name {
			w.sees(v)
		}
		if t.lacksRow() {
			if err := p.meetAttached(ctx, t, v, look); err != nil {
				p.fail(t, ofLake(err))
				t.stand()
			}
			continue
		}
		if t.failed() || t.at.LSN == 0 || !t.direct() {
			p.noteAside(ctx, t, v, look.At)
			continue
		}
		if err := p.meetLeaves(ctx, t, v, look); err != nil {
			p.fail(t, ofLake(err))
			t.stand()
			continue
		}
		if t.shed != nil {
			continue
		}
		if t.at.LSN > look.At {
			if err := t.meetNewer(v, look); err != nil {
				p.fail(t, ofLake(err))
				t.stand()
			}
			continue
		}
		if v == nil { // dropped, which leaves the lake's table as it is, or renamed
			if name, there := names[t.at.TableID]; there && name != t.name {
				t.settled = true
				p.fail(t, &renamedError{name})
			} else if !there {
				p.leave(ctx, t)
			}
			continue
		}
		err := p.meetLook(ctx, t, v, look.At)
		if err == nil && t.direct() {
			err = t.samePublished(look.Published)
		}
		if err != nil {
			p.fail(t, ofLake(err))
			t.stand()
		}
	}
}

// meetNewer takes from a look at a table that has committed beyond it what no newer description
// makes untrue, and nothing in the log tells of.
func (t *target) meetNewer(v *change.Table, look *change.Look) error {
	if v != nil && v.ID == t.source.ID && look.At > t.at.Copied {
		if err := t.samePublished(look.Published); err != nil {
			return err
		}
	}
	return t.at.learnTypes(v)
}

// samePublished refuses a table whose publication somebody has changed since the table
// was taken: what was done to it since, or for a while, may be in no log.
func (t *target) samePublished(now map[uint32]change.Published) error {
	if had := t.howPublished(); had == nil || had.Same(now[t.source.ID]) {
		return nil
	}
	if _, there := now[t.source.ID]; !there {
		return anew("%s is not published any more (somebody took it out of the publication), and the lake lacks what was done to it", t.name)
	}
	return anew("somebody changed how %s is published (its entry in the pipeline's publication, or the publication's options), if only for a moment: changes of it may be lost", t.name)
}
