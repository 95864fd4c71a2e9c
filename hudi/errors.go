package hudi

import (
	"errors"
	"fmt"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/offset"
)

var (
	// ErrTableExists says that [Create] found a table where it should make one.
	ErrTableExists = errors.New("a Hudi table exists there already")
	// ErrCleaned says that a read wants the table as of an instant of which a
	// cleaning has deleted files.
	ErrCleaned = errors.New("the table of that instant has been cleaned away")
	// ErrPublished is what [Txn.Abort] returns when the store had published the
	// transaction although Commit returned an error: its changes stand.
	ErrPublished = errors.New("the transaction was published")
	// ErrNoTable says that [Open] found no table.
	ErrNoTable = errors.New("no Hudi table there")
)

// UnsupportedError says that a table has a feature that this package does not read
// or, in a transaction, does not write.
type UnsupportedError struct {
	What   string // the feature, as "table version"
	Value  string // what the table has
	WayOut string // what a person can do
}

// Error names the feature, its value and the way out.
func (e *UnsupportedError) Error() string {
	msg := fmt.Sprintf("unsupported %s %q", e.What, e.Value)
	if e.WayOut != "" {
		msg += ": " + e.WayOut
	}
	return msg
}

// ConflictError says that somebody else changed the table under a transaction: it
// cannot be published. Abort it and do its work anew.
type ConflictError struct {
	Instant string // of the transaction
	Reason  string
	Other   string    // the instant that it conflicts with, if there is one
	Groups  []GroupID // the file groups that both change, if that is what it is
	Err     error     // what was found, if anything
}

// Error says what happened to the transaction.
func (e *ConflictError) Error() string {
	msg := fmt.Sprintf("transaction %s lost the table: %s", e.Instant, e.Reason)
	if e.Instant == "" {
		return "the table is not free: " + e.Reason
	}
	if e.Other != "" {
		msg = fmt.Sprintf("transaction %s lost against %s: %s", e.Instant, e.Other, e.Reason)
	}
	if len(e.Groups) > 0 {
		msg += ": " + groupNames(e.Groups)
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap is what was found.
func (e *ConflictError) Unwrap() error { return e.Err }

// SchemaError says that a table cannot take on a schema.
type SchemaError struct {
	Column string
	Reason string
}

// Error names the column and says what is wrong with it.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("column %s: %s", e.Column, e.Reason)
}

// PartitionError says that a value of a partition column cannot name a folder.
type PartitionError struct {
	Column, Folder string
	Reason         string
}

// Error names the column, the folder that the value would have, and why it cannot be.
func (e *PartitionError) Error() string {
	const most = 60
	folder := e.Folder
	if len(folder) > most {
		folder = folder[:most] + "..."
	}
	return fmt.Sprintf("partition column %s: %q cannot name a folder: %s", e.Column, folder, e.Reason)
}

// OptionError says that what a caller asks for cannot be: an option or argument that makes
// no sense for the table, an instant that it does not have.
type OptionError struct{ Reason string }

// Error says what is wrong.
func (e *OptionError) Error() string { return e.Reason }

func badOption(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }

// RowError says that rows cannot be written as they are: a key is null, or comes twice, or text is
// not UTF-8.
type RowError struct {
	Reason string
	Twice  bool // a key comes twice
}

// Error says what is wrong with which row.
func (e *RowError) Error() string { return e.Reason }

func badRow(format string, args ...any) error { return &RowError{Reason: fmt.Sprintf(format, args...)} }

// CorruptError says that a file of the table is not what it should be.
type CorruptError struct {
	File string // below the table's folder
	Err  error
}

// Error names the file, and where in it that is known.
func (e *CorruptError) Error() string {
	if at := e.Offset(); at != offset.Unknown {
		return fmt.Sprintf("%s is damaged at offset %d: %v", e.File, at, e.Err)
	}
	return fmt.Sprintf("%s is damaged: %v", e.File, e.Err)
}

// Offset is where in the file the damage was met, in bytes from its start: of a log block its
// beginning, of a file that is too short its end. It is -1 where that is not known, as of a
// file that is missing.
func (e *CorruptError) Offset() int64 { return offset.Of(e.Err) }

// Unwrap is what was found wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// ofColumn makes an error of the table's of what a base file says of a column.
func ofColumn(err error) error {
	if c, ok := errors.AsType[*basefile.ColumnError](err); ok {
		return &SchemaError{c.Column, c.Reason}
	}
	return err
}
