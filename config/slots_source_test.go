package config_test

import (
	"testing"
)

// TestSlotSources divides what bounds the copies of a pipeline among its slots.
func TestSlotSources(t *testing.T) {
	t.Parallel()
	for bootstrap, want := range map[string]int{"connections: 7": 2, "connections: 2": 1, "chunk_bytes: 1MiB": 1} {
		p := parse(t, `
pipelines:
  - name: shop
    source: {postgres: {url: "postgres://u@h/db"}}
    tables: [{match: "*.*"}]
    lake: {url: /data/lake}
    slots: 3
    bootstrap: {max_bytes_per_second: 1MiB, `+bootstrap+`}
`).Pipelines[0]
		source := p.SlotSources(nil)
		a, b := source("default", nil), source("s2", nil)
		if a.CopyConnections != want || b.CopyConnections != want || a.Pipeline == b.Pipeline {
			t.Errorf("%s: %d and %d connections, want %d", bootstrap, a.CopyConnections, b.CopyConnections, want)
		}
		if a.CopyRate != b.CopyRate {
			t.Error("each has a rate of its own")
		}
	}
}
