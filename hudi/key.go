package hudi

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// RecordKeys returns the record keys of a batch's rows, made from the named columns.
func RecordKeys(batch arrow.RecordBatch, fields []string) (*array.String, error) { return nil, nil }
