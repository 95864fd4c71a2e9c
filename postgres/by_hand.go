package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// byHand is what somebody has to run on the primary, since we read its standby and know of no
// way to it.
type byHand struct {
	publications []string      // that make or change publications as a whole
	tables       []tableByHand // that put tables into them
	drops        []string      // that take something out of them
}

// tableByHand is the statement that publishes some tables.
type tableByHand struct {
	tables []*change.Table
	sql    string
}

// run runs a statement that changes the publication, or leaves it to somebody.
func (p *publication) run(ctx context.Context, tx pgx.Tx, sql string) error {
	switch {
	case p.byHand == nil:
		_, err := tx.Exec(ctx, sql)
		return err
	case strings.HasPrefix(sql, "ALTER PUBLICATION "+quote(p.name)+" DROP "):
		p.byHand.drops = append(p.byHand.drops, sql)
	default:
		p.byHand.publications = append(p.byHand.publications, sql)
	}
	return nil
}

func (h *byHand) add(tables []*change.Table, sql string) {
	h.tables = append(h.tables, tableByHand{tables, sql})
}

// statements are all that are needed, in their order. A table that is published and not taken
// does no harm: but for it nothing has to be taken out, unless it comes back otherwise.
func (h *byHand) statements() []string {
	out := h.publications
	if len(h.tables) > 0 {
		out = append(out, h.drops...)
	}
	for _, t := range h.tables {
		out = append(out, t.sql)
	}
	return out
}

// refuse is an error where publications are missing, and notes the tables that are not in them.
func (h *byHand) refuse(out *change.Prepared) error {
	if len(h.publications) > 0 {
		return &SetupError{"the server is a standby, where publications cannot be made; on its primary (or with primary_url we do it): " + strings.Join(h.statements(), "; ")}
	}
	for _, t := range h.tables {
		err := fmt.Errorf("publish it: the server is a standby; on its primary (or with primary_url we do it): %s", strings.Join(append(h.drops, t.sql), "; "))
		for _, table := range t.tables {
			out.Failed = append(out.Failed, change.Failure{Table: table, Err: err})
		}
	}
	return nil
}

// missingByHand are the statements that somebody has to run on the primary of a standby.
func (c *Connector) missingByHand(ctx context.Context, tx pgx.Tx) ([]string, error) {
	all, err := c.lookAll(ctx, tx)
	if err != nil {
		return nil, err
	}
	var tables []*change.Table
	for _, t := range all {
		if t.Refused == "" {
			tables = append(tables, t.Table)
		}
	}
	hand := new(byHand)
	pubs := c.publications(tables)
	pubs[0].byHand, pubs[1].byHand = hand, hand
	if err := c.publish(ctx, tx, pubs, nil, new(change.Prepared)); err != nil {
		return nil, errors.Join(errors.New("look at the publications"), err)
	}
	return hand.statements(), nil
}
