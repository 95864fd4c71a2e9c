// Package seed gives random tests their seeds. They are the same each time, so that a change
// fails by what it changed; the soak roams, and so does whoever sets LAKEFEED_SEED:
//
//	LAKEFEED_SEED=random go test ./hudi -run TestModel
package seed

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Variable names the environment variable that chooses the seeds: a number, for all tests
// that run, or "random".
const Variable = "LAKEFEED_SEED"

// New is the seed of a test, by its name. The test's log says how it is run again.
func New(t testing.TB) uint64 {
	t.Helper()
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name()))
	return Or(t, h.Sum64())
}

// Or is [New] for a test whose fixed seed was chosen.
func Or(t testing.TB, fixed uint64) uint64 {
	t.Helper()
	seed, text := fixed, os.Getenv(Variable)
	switch n, err := strconv.ParseUint(text, 10, 64); {
	case err == nil:
		seed = n
	case text == "random" || text == "" && os.Getenv("LAKEFEED_SOAK") != "":
		seed = rand.Uint64() //nolint:gosec // it chooses what a test does
	case text != "":
		t.Fatalf("%s is %q: want a number or random", Variable, text)
	}
	t.Logf("seed %d: %s=%d makes it again", seed, Variable, seed)
	return seed
}
