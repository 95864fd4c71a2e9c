package change

import "time"

// SlotState is what a source's server says about the replication slot that it
// keeps log for.
type SlotState struct {
	Name     string `json:"name"`
	Plugin   string `json:"plugin"`   // the output plugin: "pgoutput" for ours
	Database string `json:"database"` // the database it was made in
	Active   bool   `json:"active"`   // someone reads it now
	PID      int    `json:"pid"`      // who: the server's process id, 0 when not Active
	// Reader is the program that reads it, where the server tells, and Ours says that
	// it is Lakefeed, or may be.
	Reader string `json:"reader,omitempty"`
	Ours   bool   `json:"ours,omitempty"`
	// Confirmed is up to where its reader said that everything is safe; Restart is
	// the oldest log that the server keeps for it.
	Confirmed LSN `json:"confirmed"`
	Restart   LSN `json:"restart"`
	// Lost says that the server has removed log the slot still needed, or made it
	// invalid otherwise: it can never be read again. Why says what the server gave as the reason.
	Lost bool   `json:"lost"`
	Why  string `json:"why,omitempty"`
	// Failover says that it goes over to the server's standbys, and Synced that it came over
	// from a primary: on a standby such a slot is not read. Temporary ones go with their session.
	Failover  bool `json:"failover,omitempty"`
	Synced    bool `json:"synced,omitempty"`
	Temporary bool `json:"temporary,omitempty"`
}

// SlotFigures is what a source's server says of the log that it keeps for a slot, at one moment.
type SlotFigures struct {
	At time.Time `json:"at"` // when the server was asked, by our clock
	// Clock is a time by the clock of who writes the log, and ClockAt a position of it that all
	// had committed before by then: the server's own time and the end of its log, or, on a standby,
	// those of its primary's newest checkpoint that it knows of.
	Clock     time.Time `json:"clock,omitzero"`
	ClockAt   LSN       `json:"clock_lsn,omitzero"`
	Current   LSN       `json:"current_lsn"`        // the end of the server's log
	Confirmed LSN       `json:"confirmed_lsn"`      // up to here the slot's reader needs nothing more
	Restart   LSN       `json:"restart_lsn"`        // from here on the server keeps its log for the slot
	Active    bool      `json:"active"`             // someone reads it now
	Status    string    `json:"wal_status"`         // the server's word: reserved, extended, unreserved or lost
	Safe      int64     `json:"safe_wal_bytes"`     // how much more log may be written (or come to a standby) before the slot is lost; -1: no limit
	Limit     int64     `json:"limit_bytes"`        // how much log the server keeps for a slot at most; -1: no limit
	Lost      bool      `json:"lost,omitempty"`     // as in SlotState
	Why       string    `json:"lost_why,omitempty"` // as in SlotState
	// IdleTimeout is how long a slot may go unread before the server gives it up, 0: for
	// ever; IdleSince is since when ours is, where the server tells.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`
	IdleSince   time.Time     `json:"idle_since,omitzero"`
	// Holder is the oldest open transaction, where the server keeps much more log than what
	// is not confirmed: because of it.
	Holder string `json:"holder,omitempty"`
	// Standby is how the server follows its primary, nil where it is one itself.
	Standby *StandbyFigures `json:"standby,omitempty"`
}

// StandbyFigures is how a standby follows its primary. What it has not replayed nobody reads there.
type StandbyFigures struct {
	Waiting int64     `json:"waiting_bytes"`    // log that has come, and is not replayed
	Paused  bool      `json:"paused,omitempty"` // the replay stands still until somebody lets it go on
	Alone   bool      `json:"alone,omitempty"`  // no log comes over a connection to the primary
	Last    time.Time `json:"last,omitzero"`    // when the newest transaction committed that is replayed, by the primary's clock
}

// Lag is how many bytes of log were written behind what the slot's reader has confirmed.
func (f *SlotFigures) Lag() int64 { return behind(f.Current, f.Confirmed) }

// Kept is how many bytes of log the server keeps for the slot: no less than Lag, since it
// decodes from the beginning of the oldest transaction that was open then.
func (f *SlotFigures) Kept() int64 {
	if f.Restart == 0 { // a slot that is lost keeps nothing
		return 0
	}
	return behind(f.Current, f.Restart)
}

func behind(end, at LSN) int64 {
	if end < at {
		return 0
	}
	return int64(end - at)
}

// Prepared is what a source found when it made its server publish tables.
type Prepared struct {
	// Missing should have been published already, and were not: what was done to them
	// is in no log. They stay unpublished.
	Missing []*Table
	// Failed could not be published, and say why.
	Failed []Failure
	// Published is how each table is published from now on, by its number.
	Published map[uint32]Published
}

// Published is how a table is published. Who changes it, for a moment even, may have
// kept changes of the table from the log's reader.
type Published struct {
	Publication string `json:"publication"` // number and options
	Version     string `json:"version"`     // another one after every change of the publication's own
	Owner       string `json:"owner"`
	Table       string `json:"table"` // the table's entry: number, version, columns and filter
}

// Same reports whether nobody changed it: another owner publishes the same.
func (p Published) Same(q Published) bool {
	return p.Publication == q.Publication && p.Table == q.Table && (p.Version == q.Version || p.Owner != q.Owner)
}

// Look is what a source's catalogs say of its tables at one moment. They may be ahead
// of the log that was read.
type Look struct {
	// At is behind the commit record of every transaction that the look sees: a reader
	// who has come to it has met all of them.
	At LSN
	// Before is a position before which no transaction commits that the look does not see,
	// nor one that could see such a transaction. Horizon is the source's number of the oldest
	// transaction that was open: all before it had ended.
	Before  LSN
	Horizon uint64
	Tables  []*Table          // those that are taken
	Others  map[uint32]string // the names of all others, by the source's number for them
	// Published is how each table is published, by its number.
	Published map[uint32]Published
}
