package s3test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// Fault says what a [Proxy] does with a request.
type Fault int

// What may happen to a request on its way.
const (
	None       Fault = iota
	LoseAnswer       // the server carries it out, and the connection breaks
	Refuse           // the connection breaks before the server has it
	SlowDown         // 503 SlowDown, and the server does not have it
	CutBody          // the answer's body breaks off half way
)

// Proxy is what stands before a server and does to its requests as a test likes.
type Proxy struct{ URL string }

// NewProxy starts a proxy before s, which asks on of each request. It ends with its test.
func NewProxy(t testing.TB, s *Server, on func(r *http.Request) Fault) *Proxy {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch on(r) {
		case LoseAnswer:
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case Refuse:
			panic(http.ErrAbortHandler)
		case SlowDown:
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
		case CutBody:
			cut(w, r, forward)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return &Proxy{p.URL}
}

// cut sends half of the answer's body.
func cut(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	whole := httptest.NewRecorder()
	forward.ServeHTTP(whole, r)
	maps.Copy(w.Header(), whole.Header())
	w.WriteHeader(whole.Code)
	body := whole.Body.Bytes()
	_, _ = w.Write(body[:len(body)/2])
	panic(http.ErrAbortHandler)
}
