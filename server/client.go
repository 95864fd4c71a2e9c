package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lakefeed/change"
)

// Client asks a running process.
type Client struct {
	address string // host:port
	http    *http.Client
}

// NewClient makes a client of the server at address; nothing is asked yet.
func NewClient(address string) *Client {
	// No proxy: the other end is on this machine.
	return &Client{address: address, http: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 10 * time.Minute}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks what the process is doing.
func (c *Client) Status(ctx context.Context) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r := new(Report)
	if err := c.ask(ctx, http.MethodGet, "/status", r); err != nil {
		return nil, err
	}
	return r, nil
}

// Held is a pipeline of a running process, to be held and cut.
type Held struct {
	c    *Client
	path string
}

// Pipeline is the running pipeline of that name.
func (c *Client) Pipeline(name string) *Held {
	return &Held{c: c, path: "/pipelines/" + url.PathEscape(name)}
}

// Hold stops the pipeline at a transaction's end and says where.
func (h *Held) Hold(ctx context.Context) (change.LSN, error) {
	var a HoldAnswer
	if err := h.c.ask(ctx, http.MethodPost, h.path+"/hold", &a); err != nil {
		return 0, err
	}
	return a.LSN, nil
}

// Cut lets the pipeline commit exactly what comes before lsn, and returns each
// table's instant.
func (h *Held) Cut(ctx context.Context, lsn change.LSN) (map[string]string, error) {
	var a CutAnswer
	if err := h.c.ask(ctx, http.MethodPost, h.path+"/cut?lsn="+url.QueryEscape(lsn.String()), &a); err != nil {
		return nil, err
	}
	return a.Instants, nil
}

func (c *Client) ask(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, nil)
	if err != nil {
		return fmt.Errorf("ask the process at %s: %w", c.address, err)
	}
	req.Header.Set(Header, "1")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the process at %s: %w", c.address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask the process at %s: %w", c.address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the process at %s says to %s: %s", c.address, path, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read the answer of %s to %s (is it a Lakefeed process?): %w", c.address, path, err)
	}
	return nil
}
