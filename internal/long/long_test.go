package long_test

import (
	"testing"

	"lakefeed/internal/long"
)

// named is a test of another name, which notes how it ended.
type named struct {
	testing.TB
	name, ended string
}

func (n *named) Helper()               {}
func (n *named) Name() string          { return n.name }
func (n *named) Fatalf(string, ...any) { n.end("fails") }
func (n *named) Skipf(string, ...any)  { n.end("is skipped") }

func (n *named) end(how string) {
	if n.ended == "" {
		n.ended = how
	}
}

func TestTest(t *testing.T) {
	for _, c := range []struct{ name, set, want string }{
		{"TestCrashLong", "", "is skipped"},
		{"TestCrashLong/sub", "", "is skipped"},
		{"TestCrashLong", "1", ""},
		{"TestCrash", "1", "fails"},
		{"TestCrash/Long", "1", "fails"},
		{"TestCrash", "", "fails"},
	} {
		t.Setenv(long.Variable, c.set)
		n := &named{TB: t, name: c.name}
		if long.Test(n); n.ended != c.want {
			t.Errorf("%s with %q %s, want %q", c.name, c.set, n.ended, c.want)
		}
	}
}
