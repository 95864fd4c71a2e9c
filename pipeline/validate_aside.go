package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// aside is the quarantine of a table, as a comparison sees it.
type aside struct {
	keys     map[string]bool // in quarantine; true once the source has rejected it too
	rejected int64           // rows of the source that do not fit
	samples  []string        // keys of those that are not in quarantine
	missing  int64
}

// openAside reads what is in quarantine, which must be of the table's own position.
func (v *validation) openAside(ctx context.Context, at change.LSN) error {
	v.aside = &aside{keys: map[string]bool{}}
	t, err := hudi.Open(ctx, v.quarantine, hudi.Options{Logger: v.o.Logger, Buckets: 1})
	if errors.Is(err, hudi.ErrNoTable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the quarantine %s: %w", v.quarantine, err)
	}
	have, err := quarantinePosition(ctx, t)
	if err != nil {
		return err
	}
	if have > at {
		return fmt.Errorf("its quarantine is beyond %s: run validate again", at)
	}
	return eachQuarantined(ctx, t, []string{qKey}, func(rec arrow.RecordBatch) error {
		keys := rec.Column(0).(*array.String)
		for row := range keys.Len() {
			v.aside.keys[string([]byte(keys.Value(row)))] = false
		}
		return nil
	})
}

// fitting is a batch of the source without the rows that its table cannot hold, which
// must be in quarantine.
func (v *validation) fitting(b *change.Batch, keys *array.String) (arrow.RecordBatch, *array.String, error) {
	if len(b.Rejects) == 0 {
		return b.Rows, keys, nil
	}
	sel := make([]ref, 0, b.Len())
	for row := range b.Len() {
		if b.Rejects[row] == nil {
			sel = append(sel, ref{0, int32(row)})
			continue
		}
		v.aside.note(keys.Value(row), b.Table.KeyKind == change.NoKey)
	}
	rows, err := take(b.Rows, sel)
	if err != nil {
		return nil, nil, err
	}
	left, err := gather(arrow.BinaryTypes.String, []arrow.Array{keys}, sel)
	if err != nil {
		return nil, nil, err
	}
	return rows, left.(*array.String), nil
}

// note takes down a row that the source has and the table cannot hold. The source is read
// more than once.
func (a *aside) note(key string, keyless bool) {
	seen, there := a.keys[key]
	switch {
	case seen:
	case there:
		a.rejected++
	case keyless: // a copied row has another key each time
	default:
		a.missing++
		a.samples = append(a.samples, string([]byte(key)))
	}
	a.keys[string([]byte(key))] = true
}

// compareAside notes the rows that are neither in the table nor in quarantine.
func (v *validation) compareAside() {
	v.report.Quarantined = v.aside.rejected
	for _, key := range v.aside.samples {
		v.differ(Difference{Key: key, Kind: "missing in the quarantine"})
	}
}
