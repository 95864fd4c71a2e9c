// Package ci tells what a test does that lacks something of the machine: a developer's run goes on
// without it, and one under the variable CI, which is to have everything, fails.
package ci

import (
	"os"
	"testing"
)

// Missing skips a test for want of something, with what it is and how to get it. Where the variable
// CI is set it fails the test.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
