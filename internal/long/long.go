// Package long sets apart tests that take long: kills by the dozen, minutes of load. `go test
// ./...` is a developer's quick round and leaves them out; `make long`, which CI runs, runs
// exactly those whose names contain Long:
//
//	func TestCrashLong(t *testing.T) {
//		long.Test(t)
//		crash(t, 20)
//	}
package long

import (
	"os"
	"strings"
	"testing"
)

// Variable names the environment variable that `make long` sets.
const Variable = "LAKEFEED_LONG"

// Test skips a test where [Variable] is not set. It fails one whose name lacks Long, since nothing
// would run that.
func Test(t testing.TB) {
	t.Helper()
	if name, _, _ := strings.Cut(t.Name(), "/"); !strings.Contains(name, "Long") {
		t.Fatalf("%s takes long: have Long in its name, by which `make long` finds it", name)
	}
	if os.Getenv(Variable) == "" {
		t.Skipf("`make long` runs it: %s is not set", Variable)
	}
}
