package timeline

import (
	"cmp"
	"strings"
)

// Action is what an instant does to the table.
type Action string

// The actions of a timeline.
const (
	Commit        Action = "commit"
	DeltaCommit   Action = "deltacommit"
	ReplaceCommit Action = "replacecommit"
	Clustering    Action = "clustering" // of layout 2; layout 1 has it as a replace commit
	Compaction    Action = "compaction"
	LogCompaction Action = "logcompaction"
	Clean         Action = "clean"
	Rollback      Action = "rollback"
	Savepoint     Action = "savepoint"
	Restore       Action = "restore"
	Indexing      Action = "indexing"
	SchemaCommit  Action = "schemacommit"
)

// family is the action as which a completes: two actions of one family and time are the
// same instant.
func (a Action) family() Action {
	switch a {
	case Compaction:
		return Commit
	case LogCompaction:
		return DeltaCommit
	case Clustering:
		return ReplaceCommit
	default:
		return a
	}
}

// writes tells whether the action adds data files to the table.
func (a Action) writes() bool {
	switch a.family() {
	case Commit, DeltaCommit, ReplaceCommit:
		return true
	default:
		return false
	}
}

// State is how far an instant has come.
type State int

// The states of an instant, in the order in which it goes through them.
const (
	Requested State = iota
	Inflight
	Completed
)

// String names the state as Hudi does.
func (s State) String() string {
	switch s {
	case Requested:
		return "REQUESTED"
	case Inflight:
		return "INFLIGHT"
	case Completed:
		return "COMPLETED"
	default:
		return "INVALID"
	}
}

// Instant is one action on the table, in one state.
type Instant struct {
	Time   string // when it was requested, which names it
	Action Action
	State  State
	// Completion is when it was completed: in layout 2, of completed instants. It is
	// greater than Time, and than that of all instants completed before.
	Completion string
}

// CompletionTime is when a completed instant became visible: in layout 1 its own time.
func (i Instant) CompletionTime() string { return cmp.Or(i.Completion, i.Time) }

// Writes tells whether the instant adds data files to the table.
func (i Instant) Writes() bool { return i.Action.writes() }

// wrote tells whether it is a completed write.
func (i Instant) wrote() bool { return i.State == Completed && i.Action.writes() }

// SameAs tells whether two files are of one instant: those of one time are of several where
// savepoints are, or writers chose the same time.
func (i Instant) SameAs(o Instant) bool {
	return i.Time == o.Time && i.Action.family() == o.Action.family()
}

// Replaces tells whether the instant may take file groups out of the table, as
// overwrites, clusterings and deleted partitions do.
func (i Instant) Replaces() bool { return i.Action.family() == ReplaceCommit }

// String describes the instant for messages.
func (i Instant) String() string {
	return i.Time + " " + string(i.Action) + " " + i.State.String()
}

// FileName is the name of the timeline file that puts the instant in its state.
func (i Instant) FileName() string {
	switch i.State {
	case Requested:
		return i.Time + "." + string(i.Action) + suffixRequested
	case Inflight:
		if i.Action == Commit {
			return i.Time + suffixInflight
		}
		return i.Time + "." + string(i.Action) + suffixInflight
	default:
		time := i.Time
		if i.Completion != "" {
			time += completionSep + i.Completion
		}
		return time + "." + string(i.Action.family())
	}
}

const (
	completionSep = "_"

	suffixRequested = ".requested"
	suffixInflight  = ".inflight"
)

// ParseName reads the name of a timeline file of either layout. Of other files it
// reports false.
//
// The completed file of a compaction is named as a commit's, and that of a clustering as
// a replace commit's; a Timeline tells them apart.
func ParseName(name string) (Instant, bool) {
	times, rest, ok := strings.Cut(name, ".")
	time, completion, both := strings.Cut(times, completionSep)
	if !ok || !digits(time) || both && !digits(completion) {
		return Instant{}, false
	}
	i := Instant{Time: time, State: Completed, Completion: completion}
	action, state, pending := strings.Cut(rest, ".")
	switch {
	case pending && state == suffixRequested[1:]:
		i.State = Requested
	case pending && state == suffixInflight[1:]:
		i.State = Inflight
	case pending:
		return Instant{}, false
	case rest == suffixInflight[1:]:
		action, i.State = string(Commit), Inflight
	}
	i.Action = Action(action)
	if !i.Action.known() || i.FileName() != name {
		return Instant{}, false
	}
	if i.Action == Savepoint && i.State == Requested {
		return Instant{}, false // a savepoint starts inflight
	}
	return i, true
}

func (a Action) known() bool {
	switch a {
	case Commit, DeltaCommit, ReplaceCommit, Clustering, Compaction, LogCompaction, Clean,
		Rollback, Savepoint, Restore, Indexing, SchemaCommit:
		return true
	default:
		return false
	}
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// compare orders instants by time; times compare as text.
func compare(a, b Instant) int {
	return cmp.Or(strings.Compare(a.Time, b.Time), cmp.Compare(a.Action, b.Action),
		cmp.Compare(a.State, b.State), strings.Compare(a.Completion, b.Completion))
}
