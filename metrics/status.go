package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"lakefeed/change"
	"lakefeed/pipeline"
)

var (
	ofPipeline = []string{"pipeline"}
	ofSlot     = []string{"pipeline", "slot"} // no slot where there is one only
	ofTable    = []string{"pipeline", "table"}

	slotLag = desc("slot_lag_bytes", "Bytes of log that the source wrote behind what this pipeline's slot has confirmed.", ofSlot)
	readLSN = desc("read_lsn", "Position up to which the source's log was read, as a number.", ofSlot)
	acked   = desc("acked_lsn", "Position up to which the source may forget, as a number.", ofSlot)
	commits = desc("commits_total", "Commits written to tables of the lake.", ofPipeline)
	spooled = desc("spooled_bytes", "Bytes of changes that wait in the spool, of tables that cannot be written now.", ofPipeline)
	spilled = desc("spilled_bytes_total", "Bytes of changes that went through local disk.", ofPipeline)

	rows       = desc("rows_total", "Changes written, rows of the first copy included.", ofTable)
	freshness  = desc("freshness_seconds", "Age of the oldest change that is not yet in the lake.", ofTable)
	lastCommit = desc("last_commit_timestamp_seconds", "When the table's newest commit was written.", ofTable)
	checkpoint = desc("checkpoint_lsn", "Position that the table's newest commit covers, as a number.", ofTable)
	copied     = desc("copy_rows", "Rows that the first copy has read so far.", ofTable)
	aside      = desc("quarantined_rows", "Rows in quarantine, which the table cannot hold.", ofTable)
	copiedSize = desc("copy_bytes", "Bytes of rows, by the source's statistics, that a copy in chunks has read so far.", ofTable)
	copySize   = desc("copy_estimate_bytes", "Bytes of rows, by the source's statistics, that a copy in chunks reads in all.", ofTable)
	copyLeft   = desc("copy_left_seconds", "For how long a copy in chunks reads still, at its rate so far.", ofTable)
	estimate   = desc("copy_estimate_rows", "Rows that the first copy expects.", ofTable)
	changed    = desc("schema_changes_total", "Changes of the source table's schema that were found.", ofTable)
	pending    = desc("schema_pending_changes", "Changes of the source table's schema that the lake has not taken on: the table is frozen, or waits for a person.", ofTable)
	tableState = desc("table_state", "1 for the state that the table is in, 0 for the others.", []string{"pipeline", "table", "state"})
)

var states = []pipeline.State{pipeline.Waiting, pipeline.Copying, pipeline.CatchingUp, pipeline.Streaming, pipeline.Paused, pipeline.Failed}

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc("lakefeed_"+name, help, labels, nil)
}

// statusCollector turns every watched pipeline's status into metrics at each scrape.
type statusCollector struct{ m *Metrics }

// Describe sends nothing: which tables there are shows at the scrape.
func (statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect asks every pipeline once.
func (c statusCollector) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	watched := c.m.watched
	c.m.mu.Unlock()
	for _, status := range watched {
		collect(ch, status())
	}
}

func collect(ch chan<- prometheus.Metric, s pipeline.Status) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	lsn := func(d *prometheus.Desc, text string, labels ...string) {
		if v, err := change.ParseLSN(text); err == nil { // unknown yet: no sample
			gauge(d, float64(v), labels...)
		}
	}
	slots := s.Slots
	if len(slots) == 0 {
		slots = []pipeline.SlotState{{Read: s.Read, Acked: s.Acked, SlotLag: s.SlotLag, Governor: s.Slot}}
	}
	for _, one := range slots {
		if one.SlotLag >= 0 {
			gauge(slotLag, float64(one.SlotLag), s.Pipeline, one.Slot)
		}
		lsn(readLSN, one.Read, s.Pipeline, one.Slot)
		lsn(acked, one.Acked, s.Pipeline, one.Slot)
		collectSlot(ch, s.Pipeline, one.Slot, one.Governor)
	}
	counter(commits, s.Commits, s.Pipeline)
	counter(spilled, s.Spilled, s.Pipeline)
	gauge(spooled, float64(s.Spooled), s.Pipeline)
	for _, t := range s.Tables {
		counter(rows, t.Rows, s.Pipeline, t.Table)
		gauge(freshness, t.Freshness, s.Pipeline, t.Table)
		gauge(aside, float64(t.Quarantined), s.Pipeline, t.Table)
		counter(changed, t.SchemaChanges, s.Pipeline, t.Table)
		gauge(pending, float64(t.SchemaPending), s.Pipeline, t.Table)
		lsn(checkpoint, t.Checkpoint, s.Pipeline, t.Table)
		if !t.CommitTime.IsZero() {
			gauge(lastCommit, float64(t.CommitTime.UnixMilli())/1000, s.Pipeline, t.Table)
		}
		if t.State == pipeline.Copying {
			gauge(copied, float64(t.CopyRows), s.Pipeline, t.Table)
			gauge(estimate, float64(t.Estimate), s.Pipeline, t.Table)
			if t.CopyChunks > 0 {
				gauge(copiedSize, float64(t.CopyBytes), s.Pipeline, t.Table)
				gauge(copySize, float64(t.CopyTotal), s.Pipeline, t.Table)
				gauge(copyLeft, t.CopyLeft, s.Pipeline, t.Table)
			}
		}
		for _, state := range states {
			v := 0.0
			if t.State == state {
				v = 1
			}
			gauge(tableState, v, s.Pipeline, t.Table, string(state))
		}
	}
}
