// Package offset says where in a file bytes lie that are not what they should be. The error
// of the table that names the file tells it.
package offset

import (
	"encoding/json"
	"errors"
)

// Unknown is the offset of an error that says nothing of it.
const Unknown = -1

// Error is what is wrong at an offset of a file.
type Error struct {
	Offset int64 // in bytes from the file's start
	Err    error
}

// At is err, of bytes at an offset.
func At(offset int64, err error) error { return &Error{offset, err} }

// Error is without the offset, which whoever names the file tells.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Of is the offset that an error tells, or [Unknown]. Of several it is the outermost one's:
// within a part of a file others count from the part's start.
func Of(err error) int64 {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Offset
	}
	return Unknown
}

// OfJSON is the error of reading a whole file as JSON, with the offset that it tells.
func OfJSON(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return At(e.Offset, err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return At(e.Offset, err)
	}
	return err
}
