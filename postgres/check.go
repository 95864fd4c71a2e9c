package postgres

import (
	"context"
	"errors"
)

var errLater = errors.New("postgres: not built yet")

// Severity says how bad a Problem is.
type Severity int

// The severities.
const (
	Warning Severity = iota // it works, though not as one may think
	Error                   // it does not work
)

// Problem is one thing that Check found.
type Problem struct {
	Severity  Severity
	Table     string // "public.orders", empty where it concerns the server
	What      string
	Statement string // the SQL or setting that mends it, where there is one
}

// Check looks for everything that would keep a pipeline from working. An error
// means that the looking itself failed; that the database cannot be reached is a Problem.
func Check(ctx context.Context, opts Options) ([]Problem, error) { return nil, errLater }
