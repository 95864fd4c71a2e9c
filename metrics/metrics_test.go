package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/metrics"
	"lakefeed/pipeline"
)

// governed is a slot over its budget.
func governed() *pipeline.SlotStatus {
	return &pipeline.SlotStatus{
		SlotFigures: &change.SlotFigures{Current: 100, Confirmed: 60, Restart: 40, Status: "extended", Safe: 7, Limit: 67, Standby: &change.StandbyFigures{Waiting: 8}},
		Lag:         40, Kept: 60, LagSeconds: 2.5, LimitIn: 3, BudgetIn: -1, Step: pipeline.StepSpool, Budget: pipeline.WALBudget{Warn: 10, Spool: 20},
	}
}

func TestScrape(t *testing.T) {
	m := metrics.New("v1")
	m.Watch(func() pipeline.Status {
		return pipeline.Status{Pipeline: "shop", SlotLag: 4096, Slot: governed(), Read: "1/0", Acked: "0/10", Commits: 3, Spilled: 7, Spooled: 9, Tables: []pipeline.TableStatus{
			{Table: "public.orders", State: pipeline.Streaming, Rows: 12, Freshness: 1.5, Checkpoint: "0/20", CommitTime: time.UnixMilli(1_700_000_000_500), Quarantined: 4, SchemaChanges: 6, SchemaPending: 2},
			{Table: `public.a "b"`, State: pipeline.Copying, CopyRows: 5, Estimate: 10},
		}}
	})
	m.Watch(func() pipeline.Status { return pipeline.Status{Pipeline: "idle", SlotLag: -1} })
	m.Observer("shop").Committed("public.orders", 12, 300*time.Millisecond, 2*time.Second)

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		`lakefeed_slot_lag_bytes{pipeline="shop",slot=""} 4096`,
		`lakefeed_read_lsn{pipeline="shop",slot=""} 4.294967296e+09`,
		`lakefeed_acked_lsn{pipeline="shop",slot=""} 16`,
		`lakefeed_commits_total{pipeline="shop"} 3`,
		`lakefeed_spilled_bytes_total{pipeline="shop"} 7`,
		`lakefeed_spooled_bytes{pipeline="shop"} 9`,
		`lakefeed_rows_total{pipeline="shop",table="public.orders"} 12`,
		`lakefeed_freshness_seconds{pipeline="shop",table="public.orders"} 1.5`,
		`lakefeed_last_commit_timestamp_seconds{pipeline="shop",table="public.orders"} 1.7000000005e+09`,
		`lakefeed_copy_rows{pipeline="shop",table="public.a \"b\""} 5`,
		`lakefeed_table_state{pipeline="shop",state="streaming",table="public.orders"} 1`,
		`lakefeed_table_state{pipeline="shop",state="failed",table="public.orders"} 0`,
		`lakefeed_quarantined_rows{pipeline="shop",table="public.orders"} 4`,
		`lakefeed_quarantined_rows{pipeline="shop",table="public.a \"b\""} 0`,
		`lakefeed_schema_changes_total{pipeline="shop",table="public.orders"} 6`,
		`lakefeed_schema_pending_changes{pipeline="shop",table="public.orders"} 2`,
		`lakefeed_commit_duration_seconds_count{pipeline="shop"} 1`,
		`lakefeed_commit_latency_seconds_sum{pipeline="shop"} 2`,
		`lakefeed_build_info{version="v1"} 1`,
		`lakefeed_slot_lag_seconds{pipeline="shop",slot=""} 2.5`,
		`lakefeed_slot_kept_bytes{pipeline="shop",slot=""} 60`,
		`lakefeed_slot_safe_bytes{pipeline="shop",slot=""} 7`,
		`lakefeed_standby_waiting_bytes{pipeline="shop",slot=""} 8`,
		`lakefeed_slot_limit_seconds{pipeline="shop",slot=""} 3`,
		`lakefeed_slot_wal_status{pipeline="shop",slot="",status="extended"} 1`,
		`lakefeed_slot_wal_status{pipeline="shop",slot="",status="lost"} 0`,
		`lakefeed_wal_budget_step{pipeline="shop",slot="",step="spool"} 1`,
		`lakefeed_wal_budget_step{pipeline="shop",slot="",step="none"} 0`,
		`lakefeed_wal_budget_bytes{pipeline="shop",slot="",step="warn"} 10`,
		`lakefeed_wal_budget_bytes{pipeline="shop",slot="",step="spool"} 10`,
		`lakefeed_source_lsn{pipeline="shop",slot=""} 100`,
		`lakefeed_slot_confirmed_lsn{pipeline="shop",slot=""} 60`,
		`lakefeed_slot_restart_lsn{pipeline="shop",slot=""} 40`,
		`go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(body, `lakefeed_slot_lag_bytes{pipeline="idle"`) {
		t.Error("an unknown lag is shown")
	}
}
