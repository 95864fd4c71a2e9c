package change

import (
	"errors"
	"fmt"
	"time"
)

// ErrReadOnly is a source that takes no logical messages: a standby.
var ErrReadOnly = errors.New("the source is a standby, into which nothing can be written")

// ByHandError is what somebody has to do in the source, since we can not.
type ByHandError struct{ Statement string }

// Error has the statement.
func (e *ByHandError) Error() string {
	return "the source is a standby, into which nothing can be written: on its primary, " + e.Statement
}

// BehindError is a standby that has not come to a position yet which is needed, or was read of
// it before: it replays its log, after a crash anew. It passes.
type BehindError struct{ End, Want LSN }

// Error names the two positions.
func (e *BehindError) Error() string {
	return fmt.Sprintf("the standby has replayed its log up to %s, and not up to %s yet, from where on it is read: wait until it has caught up", e.End, e.Want)
}

// RewrittenError is a table of which a snapshot shows nothing any more: after it was
// opened the table was truncated, or an ALTER TABLE wrote every row anew. PostgreSQL
// then shows it as empty, or without the rows that are older, and says nothing. The
// same works under a newer snapshot.
type RewrittenError struct{ Table string }

// Error names the table.
func (e *RewrittenError) Error() string {
	return e.Table + " was truncated, or written anew, while it was read: the snapshot does not show it any more"
}

// ConditionError is a condition that the rows of a table cannot be asked for: no SQL, or none that
// is true or false for a row of it.
type ConditionError struct {
	Table, Condition string
	Err              error // what the source says of it
}

// Error has the condition, and what is wrong with it.
func (e *ConditionError) Error() string {
	return fmt.Sprintf("the condition %q for rows of %s cannot be used: %v", e.Condition, e.Table, e.Err)
}

// Unwrap is what the source says.
func (e *ConditionError) Unwrap() error { return e.Err }

// AlteredError is a table whose columns were changed after it was described, so that it
// cannot be read as it was. By a newer description it can.
type AlteredError struct {
	Table string
	Err   error // how that showed
}

// Error names the table.
func (e *AlteredError) Error() string {
	return e.Table + " was altered while it was read: " + e.Err.Error()
}

// Unwrap is how it showed.
func (e *AlteredError) Unwrap() error { return e.Err }

// LockedTableError is a table that somebody has locked for longer than a copy waits. It passes.
type LockedTableError struct {
	Table string
	Err   error // what the source says of it
}

// Error names the table.
func (e *LockedTableError) Error() string {
	return "somebody has locked " + e.Table + ", which takes longer than its copy waits: " + e.Err.Error()
}

// Unwrap is what the source says.
func (e *LockedTableError) Unwrap() error { return e.Err }

// HistoryError is a log that does not hold a transaction which was read from it: it is
// another log, though it has the same name, as that of a database which was put back
// from an older copy and has gone on since.
type HistoryError struct {
	Want Mark
	Have Mark // what the log has there, or the first that it has behind it; zero: not known
}

// Error names the two transactions.
func (e *HistoryError) Error() string {
	s := fmt.Sprintf("the source's log does not hold %s, which the lake was written from", e.Want)
	if e.Have.Commit != 0 {
		s += fmt.Sprintf("; it has %s there", e.Have)
	}
	return s
}

// Mark is a transaction that a log is known again by.
type Mark struct {
	Commit LSN    `json:"commit"` // where its commit record starts
	Xid    uint32 `json:"xid"`
	Time   int64  `json:"time"` // of its commit, Unix microseconds
}

// String is the transaction, for people.
func (m Mark) String() string {
	return fmt.Sprintf("transaction %d, committed at %s on %s", m.Xid, m.Commit, time.UnixMicro(m.Time).UTC().Format(time.RFC3339Nano))
}
