package pipeline

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"lakefeed/storage"
)

// pieces is a file that notes how much is asked for at once, and has an end of its own.
type pieces struct {
	*bytes.Reader
	least  atomic.Int64
	broken error
}

func (p *pieces) Close() error { return nil }

func (p *pieces) ReadAt(b []byte, off int64) (int, error) {
	if was := p.least.Load(); was == 0 || int64(len(b)) < was {
		p.least.Store(int64(len(b)))
	}
	if p.broken != nil && off > 0 {
		return 0, p.broken
	}
	return p.Reader.ReadAt(b, off)
}

var _ storage.Reader = (*pieces)(nil)

// TestReadAhead reads parts of a file piece by piece, those at its end and behind it too.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcde"), 100_000)
	for _, c := range []struct{ from, size, block int64 }{
		{0, 1_500_000, 1 << 20}, {7, 1_000_000, 200_000}, {7, 500_000, 50_000}, {1_000_000, 500_000, 300_000}, {1_400_000, 1000, 1 << 20},
	} {
		file := &pieces{Reader: bytes.NewReader(data)}
		r := readAhead(file, c.from, c.size, c.block)
		if err := iotest.TestReader(r, data[c.from:c.from+c.size]); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		r.close()
		if least := file.least.Load(); least < min(leastBlock, int64(len(data))-c.from) && c.from+c.size < int64(len(data)) {
			t.Errorf("%+v: %d bytes are asked for", c, least)
		}
	}
	short := readAhead(&pieces{Reader: bytes.NewReader(data[:100])}, 50, 1000, 30)
	if got, err := io.ReadAll(short); err != nil || !bytes.Equal(got, data[50:100]) {
		t.Errorf("of a file that is shorter: %q, %v", got, err)
	}
	broken := readAhead(&pieces{Reader: bytes.NewReader(data), broken: io.ErrUnexpectedEOF}, 0, 1_000_000, 200_000)
	if got, err := io.ReadAll(broken); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 200_000 {
		t.Errorf("%d bytes, and %v", len(got), err)
	}
	broken.close()
	readAhead(&pieces{Reader: bytes.NewReader(data)}, 0, 1_000_000, 200_000).close() // while it is fetched
}

// TestMergedLanes merges as many lanes side by side as the budget has room for.
func TestMergedLanes(t *testing.T) {
	t.Parallel()
	const budget = 128 << 20
	for name, c := range map[string]struct {
		runs, most int
		row        int64
		far        bool
		lanes      int
	}{
		"narrow rows":                  {80, 8, 200, false, 8},
		"on two cores":                 {80, 2, 200, false, 2},
		"in S3":                        {80, 2, 200, true, 2},
		"as many runs as there are":    {256, 2, 200, false, 2},
		"as many, in S3":               {256, 8, 200, true, 1},
		"rows of 100 KB":               {80, 8, 100 << 10, false, 1},
		"few runs of them":             {10, 2, 100 << 10, false, 2},
		"rows of a megabyte":           {80, 8, 1 << 20, false, 1},
		"a run of before it was noted": {0, 4, 0, false, 4},
	} {
		var runs []*stagedRun
		for range c.runs {
			record := max(runBatch(budget, c.runs, c.most), c.row)
			runs = append(runs, &stagedRun{size: runSize{Rows: (64 << 20) / c.row, Memory: 64 << 20, Record: record}})
		}
		lanes := mergedLanes(runs, c.far, budget, c.most)
		if lanes != c.lanes {
			t.Errorf("%s: %d lanes, want %d", name, lanes, c.lanes)
		}
		block := mergedBlock(c.runs, lanes, c.far, budget)
		if took := 2 * block * int64(c.runs*lanes); took > budget/2 && lanes > 1 || c.far && block < leastBlock {
			t.Errorf("%s: blocks of %d bytes", name, block)
		}
	}
}
