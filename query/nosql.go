//go:build !cgo || nosql

package query

import (
	"context"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
)

// Supported tells whether this build can run queries.
const Supported = false

// DB is not to be had in this build.
type DB struct{}

// Open returns [ErrNoSQL].
func Open(context.Context, Options) (*DB, error) { return nil, ErrNoSQL }

// Query returns [ErrNoSQL].
func (*DB) Query(context.Context, string) (*Result, error) { return nil, ErrNoSQL }

// Close does nothing.
func (*DB) Close() error { return nil }

// Result is not to be had in this build.
type Result struct{}

// Schema is nil.
func (*Result) Schema() *arrow.Schema { return nil }

// Batches is [ErrNoSQL].
func (*Result) Batches() iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) { yield(nil, ErrNoSQL) }
}
