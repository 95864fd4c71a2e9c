package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lakefeed/metrics"
	"lakefeed/storage"
)

func TestStorage(t *testing.T) {
	m := metrics.New("v1")
	var shop storage.Requests
	shop.Add("PutObject", storage.RequestCount{Requests: 3, Failed: 1, Sent: 70, Received: 5})
	m.WatchStorage("shop", func() *storage.Requests { return &shop })
	m.WatchStorage("local", func() *storage.Requests { return nil })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`lakefeed_storage_requests_total{operation="PutObject",pipeline="shop"} 3`,
		`lakefeed_storage_failed_requests_total{operation="PutObject",pipeline="shop"} 1`,
		`lakefeed_storage_sent_bytes_total{operation="PutObject",pipeline="shop"} 70`,
		`lakefeed_storage_received_bytes_total{operation="PutObject",pipeline="shop"} 5`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("lacks %s in\n%s", want, w.Body)
		}
	}
}
