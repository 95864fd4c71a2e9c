package server_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stand is a pipeline that does what its test says.
type stand struct {
	status pipeline.Status
	cut    change.LSN
	err    error
}

func (s *stand) Status() pipeline.Status { return s.status }
func (s *stand) Hold(context.Context) (change.LSN, error) {
	return 0x1_00000002, s.err
}

func (s *stand) Cut(_ context.Context, lsn change.LSN) (map[string]string, error) {
	s.cut = lsn
	return map[string]string{"public.t": "20260101000000000"}, s.err
}

func (s *stand) Instruct(_ context.Context, table string, verb pipeline.Verb) (pipeline.Order, error) {
	return pipeline.Order{Paused: verb == pipeline.Pause, Why: table}, s.err
}

func (s *stand) Snapshot(_ context.Context, table, where string, columns ...string) (pipeline.Snapshot, error) {
	return pipeline.Snapshot{Table: table, Where: where, Columns: columns}, s.err
}

func (s *stand) Adopt(_ context.Context, table string, a pipeline.Adoption) (pipeline.Order, error) {
	return pipeline.Order{Why: table, Adopt: &a}, s.err
}

func (s *stand) Leave(_ context.Context, table string, l pipeline.Leaving) (pipeline.Order, error) {
	return pipeline.Order{Why: table, Leaves: &l}, s.err
}

// TestLeave asks for a table to be left to another pipeline.
func TestLeave(t *testing.T) {
	s := new(stand)
	h := httptest.NewServer(newServer(s).Handler())
	defer h.Close()
	c := server.NewClient(strings.TrimPrefix(h.URL, "http://"))
	defer c.Close()
	want := pipeline.Leaving{To: "orders", Path: "public/t", At: 0x16_B374D848}
	o, err := c.Pipeline("shop").Leave(t.Context(), "public.t", want)
	if err != nil || o.Why != "public.t" || *o.Leaves != want {
		t.Errorf("%+v, %v", o, err)
	}
	s.err = errors.New("it is paused")
	if _, err := c.Pipeline("shop").Leave(t.Context(), "public.t", want); err == nil || !strings.Contains(err.Error(), "it is paused") {
		t.Errorf("%v", err)
	}
}

// TestAdopt asks for a table to be taken over.
func TestAdopt(t *testing.T) {
	s := new(stand)
	h := httptest.NewServer(newServer(s).Handler())
	defer h.Close()
	c := server.NewClient(strings.TrimPrefix(h.URL, "http://"))
	defer c.Close()
	want := pipeline.Adoption{Stopped: true, Until: 0x16_B374D848, Copy: true}
	o, err := c.Pipeline("shop").Adopt(t.Context(), "public.t", want)
	if err != nil || o.Why != "public.t" || *o.Adopt != want {
		t.Errorf("%+v, %v", o, err)
	}
	s.err = errors.New("it is ours already")
	if _, err := c.Pipeline("shop").Adopt(t.Context(), "public.t", want); err == nil || !strings.Contains(err.Error(), "ours already") {
		t.Errorf("%v", err)
	}
}

// TestSnapshot asks for rows of a table, by a condition with what an address may not have.
func TestSnapshot(t *testing.T) {
	p := new(stand)
	h := httptest.NewServer(newServer(p).Handler())
	defer h.Close()
	c := server.NewClient(strings.TrimPrefix(h.URL, "http://"))
	defer c.Close()
	where := "a = 'x&y=z' AND\nb > 50 % 7"
	s, err := c.Pipeline("shop").Snapshot(t.Context(), "public.t", where)
	if err != nil || s.Table != "public.t" || s.Where != where {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = c.Pipeline("shop").Snapshot(t.Context(), "public.t", "", "a,b", "c&d")
	if err != nil || s.Where != "" || !slices.Equal(s.Columns, []string{"a,b", "c&d"}) {
		t.Errorf("%+v, %v", s, err)
	}
	p.err = errors.New("syntax error")
	if _, err := c.Pipeline("shop").Snapshot(t.Context(), "public.t", where); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("got %v", err)
	}
}

// TestInstruct asks something for a table whose name has what a path may not.
func TestInstruct(t *testing.T) {
	p := new(stand)
	h := httptest.NewServer(newServer(p).Handler())
	defer h.Close()
	c := server.NewClient(strings.TrimPrefix(h.URL, "http://"))
	defer c.Close()
	o, err := c.Pipeline("shop").Instruct(t.Context(), `public.a/b "?`, pipeline.Pause)
	if err != nil || !o.Paused || o.Why != `public.a/b "?` {
		t.Errorf("%+v, %v", o, err)
	}
	p.err = errors.New("no such table")
	if _, err := c.Pipeline("shop").Instruct(t.Context(), "public.t", pipeline.Resume); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("got %v", err)
	}
}

func newServer(p *stand) *server.Server {
	return server.New(server.Options{Version: "v1", Order: []string{"shop"}, Pipelines: map[string]server.Pipeline{"shop": p}})
}

func request(t *testing.T, s *server.Server, r *http.Request) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func get(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "127.0.0.1:8642"
	return r
}

func post(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Host = "localhost:8642"
	r.Header.Set(server.Header, "1")
	return r
}

func TestReady(t *testing.T) {
	p := &stand{status: pipeline.Status{State: pipeline.Copying}}
	s := newServer(p)
	if code, body := request(t, s, get("/readyz")); code != 503 || !strings.Contains(body, "pipeline shop is copying") {
		t.Errorf("got %d %s", code, body)
	}
	p.status.State = pipeline.Failed
	p.status.Tables = []pipeline.TableStatus{
		{Table: "public.well", State: pipeline.Streaming},
		{Table: "public.t", State: pipeline.Failed, Since: time.Date(2026, 11, 5, 7, 8, 9, 0, time.UTC), Error: "no space left"},
	}
	if code, body := request(t, s, get("/readyz")); code != 503 || !strings.Contains(body, "public.t stopped at 2026-11-05 07:08:09 UTC: no space left") || strings.Contains(body, "well") {
		t.Errorf("got %d %s", code, body)
	}
	p.status.State = pipeline.Streaming
	if code, _ := request(t, s, get("/readyz")); code != 200 {
		t.Errorf("got %d", code)
	}
	p.status.Error = "connection refused"
	if code, body := request(t, s, get("/readyz")); code != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("got %d %s", code, body)
	}
	if code, _ := request(t, s, get("/healthz")); code != 200 {
		t.Errorf("got %d", code)
	}
}

// What a web page in a browser on this machine could send is refused.
func TestGuard(t *testing.T) {
	s := newServer(&stand{})
	for name, c := range map[string]struct {
		r    *http.Request
		want int
	}{
		"rebound name":    {func() *http.Request { r := get("/status"); r.Host = "evil.example:8642"; return r }(), 403},
		"no host":         {func() *http.Request { r := get("/status"); r.Host = ""; return r }(), 403},
		"without header":  {func() *http.Request { r := post("/pipelines/shop/hold"); r.Header.Del(server.Header); return r }(), 403},
		"IPv6":            {func() *http.Request { r := get("/status"); r.Host = "[::1]:8642"; return r }(), 200},
		"get of a change": {get("/pipelines/shop/hold"), 405},
		"unknown":         {post("/pipelines/nope/hold"), 404},
		"bad lsn":         {post("/pipelines/shop/cut?lsn=x"), 400},
		"no such page":    {get("/nope"), 404},
	} {
		if code, body := request(t, s, c.r); code != c.want {
			t.Errorf("%s: got %d %s, want %d", name, code, body, c.want)
		}
	}
}

func TestClient(t *testing.T) {
	p := &stand{status: pipeline.Status{Pipeline: "shop", State: pipeline.Streaming, Rows: 5}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- newServer(p).Serve(ctx, l) }()

	c := server.NewClient(l.Addr().String())
	report, err := c.Status(t.Context())
	if err != nil || report.Version != "v1" || report.Pipelines[0].Rows != 5 {
		t.Errorf("got %+v, %v", report, err)
	}
	h := c.Pipeline("shop")
	lsn, err := h.Hold(t.Context())
	if err != nil || lsn.String() != "1/2" {
		t.Errorf("held at %s, %v", lsn, err)
	}
	instants, err := h.Cut(t.Context(), lsn+8)
	if err != nil || instants["public.t"] == "" || p.cut != lsn+8 {
		t.Errorf("cut at %s: %v, %v", p.cut, instants, err)
	}
	p.err = errors.New("a table failed")
	if _, err := h.Hold(t.Context()); err == nil || !strings.Contains(err.Error(), "a table failed") {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("a server that ended answers")
	}
	c.Close()
}
