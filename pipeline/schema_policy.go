package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lakefeed/change"
)

// SchemaPolicy is what becomes of a change of a source table's schema.
type SchemaPolicy string

// The policies.
const (
	EvolveSchema SchemaPolicy = "evolve" // what every reader can read is taken on in place, all else by a new copy; the default
	FreezeSchema SchemaPolicy = "freeze" // the columns that the lake has go on flowing as they are, all else is recorded
	PauseSchema  SchemaPolicy = "pause"  // the table waits for a person, its changes in the spool
)

// SchemaOptions say what becomes of changes of one table's schema.
type SchemaOptions struct {
	Policy SchemaPolicy // default: EvolveSchema
	// Columns are, with FreezeSchema, those that land, by their names in the source, beside
	// the key's; none: those that the table has at its first copy.
	Columns []string
	// Quarantine says of which columns a row goes to quarantine whose value does not fit into
	// the frozen type; nil: of none, and the table waits.
	Quarantine func(column string) bool
}

// Decision is what was made of a change.
type Decision string

// The decisions.
const (
	TakenOn    Decision = "taken on"             // in place
	CopiedAnew Decision = "copied anew"          // the table, beside the stream
	Recorded   Decision = "recorded"             // and nothing else
	Waits      Decision = "waits for a person"   // the table does, its changes in the spool
	Accepted   Decision = "accepted by a person" // by `lakefeed schema apply` or resume
)

// Decided is a change and what becomes of it.
type Decided struct {
	SchemaChange
	Decision Decision `json:"decision"`
}

// SchemaWaitError is a table whose schema was changed in a way that its policy leaves to
// a person.
type SchemaWaitError struct {
	Table   string
	Why     string
	version string // that waits
}

// Error says what was changed, and the way out.
func (e *SchemaWaitError) Error() string {
	return e.Why + ": look at it with `lakefeed schema plan`, and have it taken on with `lakefeed schema apply`"
}

// Acceptance is what a person took on of a table's schema, whatever its policy.
type Acceptance struct {
	LSN     change.LSN `json:"lsn"`               // all that the log brought before it
	Version string     `json:"version,omitempty"` // and the version with this sum
}

// versionSum tells versions of a table apart by what a person sees of them.
func versionSum(v *change.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", v.ID)
	for _, c := range v.Columns {
		name, err := json.Marshal([]string{c.Name, c.Type})
		if err != nil {
			panic("pipeline: names that are no JSON: " + err.Error())
		}
		fmt.Fprintf(&b, " %d%s", c.ID, name)
	}
	fmt.Fprintf(&b, " %v", v.Key)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

// accepts reports whether a person took on a version, the first row of which committed at
// since; 0: it is not known by a row.
func (t *target) accepts(v *change.Table, since change.LSN) bool {
	a := t.accept
	return a != nil && (since != 0 && since < a.LSN || a.Version == versionSum(v))
}

// policy is the table's.
func (t *target) policy() SchemaPolicy {
	if t.options.Schema.Policy == "" {
		return EvolveSchema
	}
	return t.options.Schema.Policy
}

// decide says what becomes of each change that version v brings to the table in the lake.
// The error is that it waits, or has to be copied anew. Undone is what was changed and changed
// back before v.
func (t *target) decide(v *change.Table, accepted bool, undone ...SchemaChange) (*met, []Decided, error) {
	m := &met{t: t, version: v, accepted: accepted}
	var refused error
	m.view, refused = t.viewOf(v, accepted)
	frozen := t.policy() == FreezeSchema && !accepted
	if refused != nil && !frozen {
		return m, nil, refused
	}
	var list []Decided
	for _, c := range t.at.changes(v, t.table.Schema()) {
		list = append(list, Decided{c, t.decideOne(c, v, accepted, refused)})
	}
	for _, c := range undone {
		decision := t.decideOne(c, v, accepted, refused)
		had := slices.ContainsFunc(list, func(d Decided) bool {
			return d.Kind == c.Kind && d.Column == c.Column && d.Decision == decision
		})
		if !had && decision != Recorded {
			list = append(list, Decided{c, decision})
		}
	}
	if refused != nil && !slices.ContainsFunc(list, func(d Decided) bool { return d.Decision == Waits }) {
		return m, list, &SchemaWaitError{t.name, refused.Error(), versionSum(v)}
	}
	err := t.verdict(v, list, refused)
	if _, waits := errors.AsType[*SchemaWaitError](err); !waits {
		err = cmp.Or(clash(m.shown(), t.partitions), err)
	}
	return m, list, err
}

func (t *target) decideOne(c SchemaChange, v *change.Table, accepted bool, refused error) Decision {
	switch {
	case c.Kind == ConstraintChanged:
		return Recorded
	case t.policy() == PauseSchema && !accepted:
		return Waits
	case t.policy() == FreezeSchema && !accepted:
		return t.decideFrozen(c, v, refused)
	case c.anew != "", c.Kind == ColumnRetyped && t.policy() == FreezeSchema && len(t.quarantine.keys) > 0: // rows there fit now, perhaps
		return CopiedAnew
	}
	return TakenOn
}

// decideFrozen is decideOne for a table whose columns are frozen.
func (t *target) decideFrozen(c SchemaChange, v *change.Table, refused error) Decision {
	switch c.Kind {
	case KeyChanged:
		return Waits
	case TableRemade:
		if refused != nil || !slices.Equal(t.at.Key, keyNames(v)) {
			return Waits
		}
		return CopiedAnew
	case ColumnRetyped, ColumnRewritten, ColumnReadded, TypeRedefined:
		listed := slices.ContainsFunc(t.at.Columns, func(k knownColumn) bool {
			return k.Name == c.Column && (c.Kind != ColumnReadded || !numbers(v, k.ID)) // else the frozen one has another name
		})
		switch {
		case !listed:
			return Recorded
		case refused != nil:
			return Waits
		case c.rewritten || c.reread || c.Kind != ColumnRetyped:
			return CopiedAnew
		}
	case ColumnDropped, ColumnRenamed:
		if c.blind { // the view cannot show it
			return CopiedAnew
		}
	default:
	}
	return Recorded
}

// numbers reports whether a version has a column with a number.
func numbers(v *change.Table, id int) bool {
	return id != 0 && slices.ContainsFunc(v.Columns, func(c change.Column) bool { return c.ID == id })
}

// verdict is the error that follows from decisions, nil: none does.
func (t *target) verdict(v *change.Table, list []Decided, refused error) error {
	var waits []string
	for _, d := range list {
		if d.Decision == Waits {
			waits = append(waits, d.String())
		}
	}
	if len(waits) > 0 {
		why := fmt.Sprintf("the schema of %s was changed (%s)", v, strings.Join(waits, "; "))
		if refused != nil {
			why += ", and " + refused.Error()
		}
		return &SchemaWaitError{t.name, why, versionSum(v)}
	}
	for _, d := range list {
		if d.Decision == CopiedAnew {
			what := d.anew
			if what == "" {
				what = d.String()
			}
			return &AnewError{What: what, Schema: true}
		}
	}
	return nil
}

// pending is how many changes the lake has not taken on.
func pendingChanges(list []Decided) (n int) {
	for _, d := range list {
		if d.Kind != ConstraintChanged && (d.Decision == Recorded || d.Decision == Waits) {
			n++
		}
	}
	return n
}
