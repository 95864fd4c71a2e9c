package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"lakefeed/storage"
)

var (
	ofOperation = []string{"pipeline", "operation"}

	storageRequests = desc("storage_requests_total", "Requests to the lake's server, by its operations.", ofOperation)
	storageFailed   = desc("storage_failed_requests_total", "Requests that the lake's server refused or did not answer; most are made again.", ofOperation)
	storageSent     = desc("storage_sent_bytes_total", "Bytes sent to the lake's server.", ofOperation)
	storageReceived = desc("storage_received_bytes_total", "Bytes received from the lake's server.", ofOperation)
)

// WatchStorage adds the requests of a pipeline's lake, which every scrape asks for; nil
// where there is no server.
func (m *Metrics) WatchStorage(pipeline string, requests func() *storage.Requests) {
	m.registry.MustRegister(storageCollector{pipeline, requests})
}

type storageCollector struct {
	pipeline string
	requests func() *storage.Requests
}

// Describe sends nothing: which operations there are shows at the scrape.
func (storageCollector) Describe(chan<- *prometheus.Desc) {}

// Collect asks the store.
func (c storageCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.requests()
	if r == nil {
		return
	}
	for op, count := range r.ByOperation() {
		for d, v := range map[*prometheus.Desc]int64{
			storageRequests: count.Requests, storageFailed: count.Failed, storageSent: count.Sent, storageReceived: count.Received,
		} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), c.pipeline, op)
		}
	}
}
