package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"lakefeed/change"
	"lakefeed/pipeline"
)

var (
	slotLagSeconds = desc("slot_lag_seconds", "How long ago the source wrote what this pipeline's slot has confirmed.", ofSlot)
	slotKept       = desc("slot_kept_bytes", "Bytes of log that the source keeps because of this pipeline's slot.", ofSlot)
	slotSafe       = desc("slot_safe_bytes", "Bytes of log that may still be written before the source gives the slot up (safe_wal_size); no sample where it never does.", ofSlot)
	slotLimit      = desc("slot_limit_seconds", "Seconds until the source gives the slot up, if it goes on as in the last two minutes; no sample where it will not.", ofSlot)
	slotStatus     = desc("slot_wal_status", "1 for the slot's wal_status, 0 for the others.", []string{"pipeline", "slot", "status"})
	slotRestart    = desc("slot_restart_lsn", "Position from which on the source keeps its log for the slot, as a number.", ofSlot)
	slotConfirmed  = desc("slot_confirmed_lsn", "Position up to which the slot's reader needs nothing more, as a number.", ofSlot)
	standbyWaiting = desc("standby_waiting_bytes", "Bytes of log that have come to the standby that is read, and that it has not replayed; no sample where a primary is read.", ofSlot)
	sourceLSN      = desc("source_lsn", "End of the source's log, as a number.", ofSlot)
	budget         = desc("wal_budget_bytes", "Bytes of log from which on a step of the WAL budget is taken; no sample for one that never is.", []string{"pipeline", "slot", "step"})
	step           = desc("wal_budget_step", "1 for the step of the WAL budget that is taken now, 0 for the others.", []string{"pipeline", "slot", "step"})
)

var walStatuses = []string{"reserved", "extended", "unreserved", "lost"}

// collectSlot shows what is known of a pipeline's slot, which has a name where there are
// several; s is nil before the first measurement.
func collectSlot(ch chan<- prometheus.Metric, name, slot string, s *pipeline.SlotStatus) {
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{name, slot}, labels...)...)
	}
	is := map[bool]float64{true: 1}
	for _, each := range pipeline.Steps {
		gauge(step, is[each == s.Step], string(each))
	}
	for each, from := range map[pipeline.Step]int64{pipeline.StepWarn: s.Budget.Warn, pipeline.StepSpool: s.Budget.SpoolFrom(), pipeline.StepDrop: s.Budget.DropSlot} {
		if from > 0 {
			gauge(budget, float64(from), string(each))
		}
	}
	if s.SlotFigures == nil {
		return
	}
	known := func(d *prometheus.Desc, v float64) {
		if v >= 0 {
			gauge(d, v)
		}
	}
	known(slotKept, float64(s.Kept))
	known(slotLagSeconds, s.LagSeconds)
	known(slotSafe, float64(s.Safe))
	known(slotLimit, s.LimitIn)
	if s.Standby != nil {
		gauge(standbyWaiting, float64(s.Standby.Waiting))
	}
	for d, at := range map[*prometheus.Desc]change.LSN{slotRestart: s.Restart, slotConfirmed: s.Confirmed, sourceLSN: s.Current} {
		gauge(d, float64(at))
	}
	for _, each := range walStatuses {
		gauge(slotStatus, is[each == s.Status], each)
	}
}
