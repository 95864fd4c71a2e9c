package ci_test

import (
	"fmt"
	"testing"

	"lakefeed/internal/ci"
)

// noted is a test that notes how it ended.
type noted struct {
	testing.TB
	ended string
}

func (n *noted) Helper() {}

func (n *noted) Fatalf(format string, args ...any) { n.end("fails: ", format, args) }
func (n *noted) Skipf(format string, args ...any)  { n.end("is skipped: ", format, args) }

func (n *noted) end(how, format string, args []any) {
	if n.ended == "" {
		n.ended = how + fmt.Sprintf(format, args...)
	}
}

func TestMissing(t *testing.T) {
	for set, want := range map[string]string{"": "is skipped: no server 15", "true": "fails: no server 15"} {
		t.Setenv("CI", set)
		n := &noted{TB: t}
		if ci.Missing(n, "no %s %d", "server", 15); n.ended != want {
			t.Errorf("with CI=%q it %s, want %q", set, n.ended, want)
		}
	}
}
