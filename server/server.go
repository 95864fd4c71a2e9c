// Package server is the small HTTP side of `lakefeed run`: what a load balancer,
// Prometheus, `lakefeed status` and `lakefeed validate` ask a running process.
//
//	GET  /healthz                      the process lives
//	GET  /readyz                       every pipeline is in step with its source
//	GET  /metrics                      for Prometheus
//	GET  /status                       what every pipeline and table is doing, a [Report]
//	POST /pipelines/{name}/hold        stop at a transaction's end; answers its LSN
//	POST /pipelines/{name}/cut?lsn=L   commit exactly up to L; answers each table's instant
//	POST /pipelines/{name}/tables/{table}/{verb}   pause, resume, resync, add or remove one table
//	POST /pipelines/{name}/tables/{table}/resync?where=W   read the rows that meet a condition anew
//	POST /pipelines/{name}/tables/{table}/adopt?adopt=A    take a table of another job over, as JSON says
//
// It listens on loopback only and asks nobody who they are. Against web pages that
// a browser on the same machine shows, it answers only to loopback host names, and
// takes a POST only with the header of [Header], which no page can send here.
//
// [Client] is the other end.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
)

// Header is what a POST must carry, with any value.
const Header = "X-Lakefeed"

// Pipeline is what the server asks of a *pipeline.Pipeline.
type Pipeline interface {
	Status() pipeline.Status
	// Hold stops reading at a transaction's end, for a while, and says where.
	Hold(ctx context.Context) (change.LSN, error)
	// Cut commits exactly what comes before lsn and returns each table's newest instant.
	Cut(ctx context.Context, lsn change.LSN) (map[string]string, error)
	// Instruct asks something for one table.
	Instruct(ctx context.Context, table string, verb pipeline.Verb) (pipeline.Order, error)
	// Snapshot asks for the rows of a table that meet a condition to be read anew, or for some of their columns.
	Snapshot(ctx context.Context, table, where string, columns ...string) (pipeline.Snapshot, error)
	// Adopt asks for a table of another job to be taken over.
	Adopt(ctx context.Context, table string, a pipeline.Adoption) (pipeline.Order, error)
	// Leave asks for a table to be left to another pipeline.
	Leave(ctx context.Context, table string, l pipeline.Leaving) (pipeline.Order, error)
}

// Report is the answer of /status.
type Report struct {
	Version   string            `json:"version"`
	Started   time.Time         `json:"started"`
	Pipelines []pipeline.Status `json:"pipelines"`
}

// Options say what a server shows.
type Options struct {
	Version   string
	Pipelines map[string]Pipeline // by name
	Order     []string            // of the pipelines in a report
	Metrics   http.Handler
	Logger    *slog.Logger // silent when nil
}

// Server answers for a process.
type Server struct {
	o       Options
	started time.Time
}

// New makes a server; [Server.Serve] runs it.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o, started: time.Now().UTC()}
}

// Serve answers on l until ctx ends, then lets requests finish for five seconds.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve at %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := h.Shutdown(stopping); err != nil {
		_ = h.Close() // requests that did not end in time are cut off
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve at %s: %w", l.Addr(), err)
	}
	return nil
}

// Handler is the server without its listener, for tests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /status", s.status)
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.o.Metrics)
	}
	mux.HandleFunc("POST /pipelines/{name}/hold", s.hold)
	mux.HandleFunc("POST /pipelines/{name}/cut", s.cut)
	mux.HandleFunc("POST /pipelines/{name}/tables/{table}/{verb}", s.instruct)
	return guard(mux)
}

// guard keeps out what a web page can send: requests under another host name
// (DNS rebinding), and changes without our header (cross-site requests).
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case !loopback(r.Host):
			fail(w, http.StatusForbidden, "this server answers only to localhost, 127.0.0.1 and [::1]")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(Header) == "":
			fail(w, http.StatusForbidden, "send the header "+Header+" with any value: without it this may be a web page's request")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintf(w, "Lakefeed %s\n\n/healthz  /readyz  /metrics  /status\n", s.o.Version)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	var waiting []string
	for _, name := range s.o.Order {
		switch st := s.o.Pipelines[name].Status(); {
		case st.Slot != nil && st.Slot.Step.Spools() && st.Error == "":
			waiting = append(waiting, fmt.Sprintf("pipeline %s: the slot's lag has reached the budget's step spool, and rounds go to the spool: %s", name, st.Slot.Text()))
			waiting = append(waiting, stopped(st.Tables)...)
		case st.Error != "": // its source or its lake is away, and it tries again
			waiting = append(waiting, fmt.Sprintf("pipeline %s: %s", name, st.Error))
		case st.State != pipeline.Streaming:
			waiting = append(waiting, fmt.Sprintf("pipeline %s is %s", name, st.State))
			waiting = append(waiting, stopped(st.Tables)...)
		}
	}
	if len(waiting) > 0 {
		fail(w, http.StatusServiceUnavailable, strings.Join(waiting, "\n"))
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// stopped says which tables stand.
func stopped(tables []pipeline.TableStatus) (lines []string) {
	for _, t := range tables {
		if t.State == pipeline.Failed {
			lines = append(lines, "  "+t.StopText())
		}
	}
	return lines
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	report := Report{Version: s.o.Version, Started: s.started}
	for _, name := range s.o.Order {
		report.Pipelines = append(report.Pipelines, s.o.Pipelines[name].Status())
	}
	answer(w, report)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the other end has gone
}

func fail(w http.ResponseWriter, code int, message string) {
	http.Error(w, message, code)
}
