package pipeline

import "lakefeed/change"

// judge stops the tables that are in the source no longer what they are in the lake, as
// the next start would, by a look at the source's catalogs. It waits until the lake
// holds everything up to the look: what the log brings by itself has then come, and what
// has not come is not in it. A table that has committed beyond the look is left to the
// next one: its description may be newer than the look.
func (p *Pipeline) judge(written change.LSN) {
	look := p.looked.Load()
	if look == nil || written < look.At {
		return
	}
	p.looked.Store(nil) // only the watcher puts another one there
	tables, names := map[string]*change.Table{}, look.Others
	for _, v := range look.Tables {
		tables[v.String()], names[v.ID] = v, v.String()
	}
	for _, t := range p.targets {
		if t.failed() || t.at.LSN == 0 {
			continue
		}
		v := tables[t.name]
		if t.at.LSN > look.At {
			if err := t.at.learnTypes(v); err != nil { // which nothing in the log tells of
				p.fail(t, err)
			}
			continue
		}
		if v == nil { // dropped, which leaves the lake's table as it is, or renamed
			if name, there := names[t.at.TableID]; there && name != t.name {
				t.settled = true
				p.fail(t, &renamedError{name})
			}
			continue
		}
		if err := t.at.still(v); err != nil {
			p.fail(t, err)
			continue
		}
		t.at.settle(v)
	}
}
