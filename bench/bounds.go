package main

import (
	"errors"
	"fmt"
)

// bound is something that was promised, and what was measured.
type bound struct {
	Promise  string `json:"promise"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

const memoryBound = 512 << 20

// judge compares what was measured with what was promised. Medians count.
func (r *record) judge() {
	r.Load[1] = load()
	ratio := func(a, b string) float64 { return r.median(a).Wall / r.median(b).Wall }
	decode := ratio(drainDecode, drainRecv)
	r.bound("decoding the backlog to checksummed Arrow batches takes at most 1.5 times as long as pg_recvlogical",
		fmt.Sprintf("%.2f times", decode), decode <= 1.5)

	drain, changes := r.median(drainLake), r.changes(drainLake)
	rate, cpu := changes/drain.Wall, drain.CPU/changes*1e6
	r.bound("the same into committed merge-on-read tables: at least 40,000 changes a second", fmt.Sprintf("%.0f/s", rate), rate >= 40_000)
	r.bound("... and at most 20 CPU seconds of the client for a million changes", fmt.Sprintf("%.1f", cpu), cpu <= 20)

	first := ratio(copyLake, copyServer)
	r.bound("first copy into a table takes at most 4 times as long as COPY to /dev/null in the server",
		fmt.Sprintf("%.2f times", first), first <= 4)

	peak := int64(0)
	for _, what := range []string{drainDecode, drainLake, copyLake, transactionLake} {
		peak = max(peak, r.peak(what))
	}
	r.bound("resident memory stays below 512 MiB", fmt.Sprintf("%d MiB at most", peak>>20), peak < memoryBound)
	r.bound("the large transaction is spilled to disk", fmt.Sprintf("%d MiB", r.Spilled>>20), r.Spilled > 0)
}

func (r *record) bound(promise, measured string, met bool) {
	r.Bounds = append(r.Bounds, bound{promise, measured, met})
}

func (r *record) err() error {
	for _, b := range r.Bounds {
		if !b.Met {
			return errors.New("a bound is missed: see above")
		}
	}
	return nil
}
