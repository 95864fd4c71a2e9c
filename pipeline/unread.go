package pipeline

import (
	"errors"
	"fmt"
	"strings"

	"lakefeed/change"
)

// A table whose folder cannot be read when the pipeline takes it in stands aside, and its changes go to the
// spool, until it can: only then shows whether it has a copy. The record does not tell. It is written
// before the source is acknowledged, so that a copy may have been made since; and who starts without
// the lake has no more than the record.

// errNoCopy is a table of which the lake has nothing, as shows when its folder can be read.
var errNoCopy = errors.New("it has no copy yet")

// mayHaveCopy reports whether the lake may have a copy of the table: else all comes with its first one.
func (t *target) mayHaveCopy() bool { return t.at.LSN != 0 || t.mine || !t.opened }

// unlisted reports whether the record is to leave the table out: it does not follow it yet, and what the lake
// has of it lacks changes then, or may be there.
func (t *target) unlisted() bool {
	return t.stranger && t.recopy == nil && (t.job || !t.opened || t.at.LSN != 0)
}

// goesOn sees, as soon as a table can be read, whether what the lake has of it can be gone on with. Had is where
// its newest commit was by the record.
func (t *target) goesOn(had change.LSN) error {
	switch {
	case t.at.LSN == 0 && had == 0:
		return errNoCopy
	case t.table == nil:
		return anew("its folder %s is gone from the lake", t.store)
	case t.stranger:
		return t.leftOut()
	}
	return nil
}

// leftOut is the error of a table whose checkpoint is of before it was left out.
func (t *target) leftOut() error {
	return anew("%s was not among the pipeline's tables, or not published, for a while, and lacks the changes of that time", t.name)
}

// fulfilled reports whether a table has the copy that a note says it waits for.
func (n stopNote) fulfilled(t *target) bool { return t.at.Copied > n.Copied }

// again is why a table waits still.
func (n stopNote) again() error {
	if !strings.Contains(n.Why, CopyAnew) { // what it was has passed, and what was passed over has not come back
		return fmt.Errorf("%s; what was done to it since is not in the lake: %s", n.Why, CopyAnew)
	}
	return errors.New(n.Why)
}
