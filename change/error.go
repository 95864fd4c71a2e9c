package change

// RewrittenError is a table of which a snapshot shows nothing any more: after it was
// opened the table was truncated, or an ALTER TABLE wrote every row anew. PostgreSQL
// then shows it as empty, or without the rows that are older, and says nothing. The
// same works under a newer snapshot.
type RewrittenError struct{ Table string }

// Error names the table.
func (e *RewrittenError) Error() string {
	return e.Table + " was truncated, or written anew, while it was read: the snapshot does not show it any more"
}
