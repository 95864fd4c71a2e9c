// Package e2e drives the lakefeed binary as its users do: a real PostgreSQL on one
// side, Hudi tables on the other.
package e2e

import (
	"os"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(laketest.Main(func() int { return pgtest.Main(m) }))
}
