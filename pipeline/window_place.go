package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"lakefeed/change"
)

// errAside is a table that is being copied as a whole, or waits for that.
var errAside = errors.New("the table cannot be written now, or is to be copied as a whole")

// placeSnapshot gives a round that is to be written the rows that wait for their place in the
// stream, which is its end. A round that ends where the table's last commit or segment did cannot have
// any: who drains the spool would take them for what is written already.
func (p *Pipeline) placeSnapshot(r *round) error {
	w := p.incremental.window.Load()
	if w == nil {
		return nil
	}
	t := p.targetOf(w.table)
	if t == nil || t.isDropped() || t.recopy != nil || t.lost {
		w.fail(errAside)
		return nil
	}
	v := w.table
	if pend := r.tables[t]; pend != nil && pend.version != nil {
		w.sees(pend.version)
		v = pend.version
	}
	for _, f := range r.failures {
		if p.targetOf(f.Table) == t {
			w.fail(fmt.Errorf("a change of the table could not be taken in: %w", f.Err))
		}
	}
	if err := w.shown(t, v); err != nil {
		w.fail(err)
		return nil
	}
	if r.to <= max(t.at.LSN, t.safe) {
		return nil
	}
	queue := w.take(r.to)
	if len(queue) == 0 {
		return nil
	}
	r.window = w
	batches, err := w.rowsAsOf(queue, v, r.to)
	if err != nil {
		w.fail(err)
		return nil
	}
	for _, b := range batches {
		if err := p.takeBatch(r, t, b); err != nil {
			return err
		}
	}
	return nil
}

// shown refuses columns that the table in the lake is not to have.
func (w *window) shown(t *target, v *change.Table) error {
	if w.columns == nil {
		return nil
	}
	view, err := t.viewOf(v, t.accepts(v, 0))
	if err != nil || view == nil {
		return err
	}
	for _, col := range view.left {
		if slices.Contains(w.names, col.Name) {
			return &ColumnError{v.String(), col.Name, "the lake does not have it, since the table's schema is frozen without it: have it taken on with `lakefeed schema apply`"}
		}
	}
	return nil
}

// sees takes in a description of the table that a change or the catalogs have: rows that were read by
// another are of no use, since they would come as if its columns were changed back.
func (w *window) sees(v *change.Table) {
	if !sameColumns(v, w.table) {
		w.fail(&change.AlteredError{Table: v.String(), Err: errors.New("its columns or its key were changed while rows were read")})
	}
	if links := linksOf(v); links != nil {
		for id, link := range linksOf(w.table) {
			if now, there := links[id]; !there || now != link { // rows of it may be read that are taken out of the lake meanwhile
				w.fail(&change.AlteredError{Table: v.String(), Err: errors.New("a partition was taken from it while rows were read")})
			}
		}
	}
}
