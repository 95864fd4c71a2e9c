// Package metrics shows what pipelines do to Prometheus. It is the only package
// that knows Prometheus: pipelines report a Status and call an Observer.
//
//	m := metrics.New(version)
//	m.Watch(p.Status)                      // p is a *pipeline.Pipeline
//	options.Observer = m.Observer("shop")  // of that pipeline
//	http.Handle("/metrics", m.Handler())
//
// docs/operations.md lists the metrics and what to watch.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lakefeed/pipeline"
)

// Metrics is a registry of its own: two of them in one process do not meet.
type Metrics struct {
	registry *prometheus.Registry
	duration *prometheus.HistogramVec
	latency  *prometheus.HistogramVec

	mu      sync.Mutex
	watched []func() pipeline.Status
}

// New makes the metrics of one process.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lakefeed_commit_duration_seconds",
			Help:    "Time that one table's commit took, reduction and services included.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"pipeline"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lakefeed_commit_latency_seconds",
			Help:    "Time from the source's commit of a table's newest change to the lake's commit that holds it.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 300, 1800, 7200},
		}, []string{"pipeline"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lakefeed_build_info", Help: "Always 1; the label is the version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.duration, m.latency, build, statusCollector{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch adds a pipeline, whose status every scrape asks for.
func (m *Metrics) Watch(status func() pipeline.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = append(m.watched, status)
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Observer takes the figures of one pipeline as they arise.
func (m *Metrics) Observer(name string) pipeline.Observer {
	return observer{duration: m.duration.WithLabelValues(name), latency: m.latency.WithLabelValues(name)}
}

type observer struct{ duration, latency prometheus.Observer }

// Committed notes one table's commit. A first copy has no latency.
func (o observer) Committed(_ string, _ int64, took, latency time.Duration) {
	o.duration.Observe(took.Seconds())
	if latency > 0 {
		o.latency.Observe(latency.Seconds())
	}
}
