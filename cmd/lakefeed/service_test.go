package main

import (
	"log/slog"
	"net"
	"testing"
)

// The default address may be taken, one that was asked for may not.
func TestBind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := &service{listen: taken.Addr().String(), log: slog.New(slog.DiscardHandler)}
	l, err := s.bind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().String() == taken.Addr().String() {
		t.Error("two listen at one address")
	}
	l.Close()
	s.mustBind = true
	if _, err := s.bind(t.Context()); err == nil {
		t.Error("an address that was asked for and is taken is no error")
	}
	s.listen = "192.0.2.1:80"
	if _, err := s.bind(t.Context()); exitCode(err) != exitUsage {
		t.Errorf("got %v", err)
	}
	s.listen = ""
	if l, err := s.bind(t.Context()); l != nil || err != nil {
		t.Errorf("got %v, %v", l, err)
	}
}
