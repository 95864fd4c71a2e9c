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
	for _, s := range shapes() {
		r.faster(s.name, s.received(), s.decoded())
	}
	r.faster("orders", drainRecv, drainDecode)

	peer, own := r.median(drainDebezium), r.median(drainDecode)
	r.bound("at 4 times Debezium's rate at least", fmt.Sprintf("%.1f times", peer.Wall/own.Wall), peer.Wall >= 4*own.Wall)
	r.bound("... and at most an eighth of its CPU seconds", fmt.Sprintf("1/%.0f", peer.CPU/own.CPU), peer.CPU >= 8*own.CPU)

	drain, changes := r.median(drainLake), r.changes(drainLake)
	rate, cpu := changes/drain.Wall, drain.CPU/changes*1e6
	r.bound("the same into committed merge-on-read tables: at least 40,000 changes a second", fmt.Sprintf("%.0f/s", rate), rate >= 40_000)
	r.bound("... and at most 20 CPU seconds of the client for a million changes", fmt.Sprintf("%.1f", cpu), cpu <= 20)

	first := ratio(copyLake, copyServer)
	r.bound("first copy into a table takes at most 4 times as long as COPY to /dev/null in the server",
		fmt.Sprintf("%.2f times", first), first <= 4)

	r.slowed()

	peak := int64(0)
	for _, what := range []string{drainDecode, drainLake, copyLake, transactionLake} {
		peak = max(peak, r.peak(what))
	}
	r.bound("resident memory stays below 512 MiB", fmt.Sprintf("%d MiB at most", peak>>20), peak < memoryBound)
	r.bound("the large transaction is spilled to disk", fmt.Sprintf("%d MiB", r.Spilled>>20), r.Spilled > 0)
}

// faster compares decoding with receiving.
func (r *record) faster(rows, received, decoded string) {
	rate := r.median(received).Wall / r.median(decoded).Wall
	r.bound("decoding "+rows+" to checksummed Arrow batches at 0.9 of pg_recvlogical's rate at least", fmt.Sprintf("%.2f", rate), rate >= 0.9)
}

// noise is what two runs of the same differ by.
const noise = 0.03

// slowed compares what pgbench loses to Lakefeed with what it loses to pg_recvlogical.
func (r *record) slowed() {
	loss := func(what string) float64 { return r.median(what).Wall/r.median(loadAlone).Wall - 1 }
	recv, ours := loss(loadRecv), loss(loadLakefeed)
	r.bound("pgbench takes no longer beside Lakefeed than beside pg_recvlogical, each compared with pgbench alone, but for noise of 3 %",
		fmt.Sprintf("%.1f %% longer, pg_recvlogical %.1f %%", 100*ours, 100*recv), ours <= recv+noise)
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
