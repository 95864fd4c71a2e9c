package pipeline

import (
	"context"

	"lakefeed/change"
)

func (p *Pipeline) dropSlot(ctx context.Context, f *change.SlotFigures) {}
