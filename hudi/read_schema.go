package hudi

import (
	"context"
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
