package hudi

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// SchemaAsOf is the schema of the data columns that a read as of an instant has: that
// of the newest commit up to it.
func (t *Table) SchemaAsOf(ctx context.Context, asOf string) (*arrow.Schema, error) {
	t.mu.RLock()
	full, tl := t.full, t.timeline
	t.mu.RUnlock()
	full, err := t.schemaAsOf(ctx, tl, asOf, full)
	if err != nil {
		return nil, fmt.Errorf("schema of %s as of %s: %w", t.name, asOf, err)
	}
	return arrow.NewSchema(full.Fields()[metaCount:], nil), nil
}

// OldestAsOf is the oldest commit as of which the table can be read, beside its
// savepoints; "" where it has no commits.
func (t *Table) OldestAsOf(ctx context.Context) (string, error) {
	tl := t.Timeline()
	for _, i := range tl.Completed() {
		err := t.checkCleaned(ctx, tl, i.Time)
		if err == nil && !tl.IsSavepoint(i.Time) {
			return i.Time, nil
		}
		if err != nil && !errors.Is(err, ErrCleaned) {
			return "", fmt.Errorf("find the oldest readable commit of %s: %w", t.name, err)
		}
	}
	return "", nil
}
