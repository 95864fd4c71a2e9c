package pgtest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between a client and a server, and behaves as bad networks do.
type Proxy struct {
	target string
	listen net.Listener
	limit  atomic.Int64 // bytes from the server after which a connection is reset, 0: none
	resets atomic.Int64
	delay  atomic.Int64 // nanoseconds that pass before what a client says reaches the server

	mu    sync.Mutex
	conns []*proxied
	done  sync.WaitGroup
}

// proxied is one connection through a Proxy.
type proxied struct {
	client, server net.Conn
	frozen         atomic.Bool
}

// NewProxy starts a proxy of the server that url names, which ends with the test.
func NewProxy(t testing.TB, dbURL string) (p *Proxy, proxyURL string) {
	t.Helper()
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &Proxy{target: u.Host, listen: listen}
	u.Host = listen.Addr().String()
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = listen.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.close(false)
		}
		p.mu.Unlock()
		p.done.Wait()
	})
	return p, u.String()
}

// ResetEvery makes every connection break, without a goodbye, after n bytes from the server.
func (p *Proxy) ResetEvery(n int64) { p.limit.Store(n) }

// Resets is how many connections have broken so.
func (p *Proxy) Resets() int64 { return p.resets.Load() }

// Delay makes all that a client says reach the server that much later, as from afar.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Freeze lets nothing pass through the connections that there are, which stay open. New
// ones work.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.frozen.Store(true)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &proxied{client: client, server: server}
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		p.done.Go(func() { c.pass(server, client, nil, p) })
		p.done.Go(func() { c.pass(client, server, &p.limit, p) })
	}
}

// pass copies from one side to the other, up to a limit.
func (c *proxied) pass(to, from net.Conn, limit *atomic.Int64, p *Proxy) {
	defer c.close(false)
	buf := make([]byte, 16<<10)
	passed := int64(0)
	for {
		n, err := from.Read(buf)
		if c.frozen.Load() {
			if err != nil {
				_, _ = io.Copy(io.Discard, to) // the other side hears nothing of it, until it gives up
				return
			}
			continue
		}
		most := int64(0)
		if limit != nil {
			most = limit.Load()
		}
		if most > 0 && passed+int64(n) > most {
			_, _ = to.Write(buf[:most-passed])
			p.resets.Add(1)
			c.close(true)
			return
		}
		passed += int64(n)
		if limit == nil {
			<-time.After(time.Duration(p.delay.Load()))
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// close ends both sides, with a reset where that is asked for.
func (c *proxied) close(reset bool) {
	for _, conn := range []net.Conn{c.client, c.server} {
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}
