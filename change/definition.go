package change

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Definition is what a source says of a type that people made, in parts which say how
// its values read: each label of an enum, and the attributes of a composite type, also
// of those that an array, a domain or a range is made of. A part that is new changes
// nothing of older values; one that reads otherwise does, and no change of a row tells. Nil: not known, or nothing that could change.
type Definition map[string]string

// LabelPart is the name of the part that is the label with number id of an enum.
func LabelPart(id string) string { return labelPart + id }

// TypePart is the name of the part that is the attributes of composite type number id.
func TypePart(id string) string { return "type " + id }

const labelPart = "label "

// With is the definition with the parts of a later one. What knows of an earlier one
// only takes nothing away from it.
func (d Definition) With(later Definition) Definition {
	if len(d) == 0 {
		return later
	}
	d = maps.Clone(d)
	maps.Copy(d, later)
	return d
}

// Broken says, for people, why older values do not read as before where the
// definition is now another; "" where they do. Labels that now does not have yet, while
// it has others, break nothing: an enum does not lose any.
func (d Definition) Broken(now Definition) string {
	if len(d) > 0 && !d.meets(now) {
		return "it has another type now"
	}
	for _, part := range slices.Sorted(maps.Keys(d)) {
		is, there := now[part]
		label := strings.HasPrefix(part, labelPart)
		switch {
		case there && is == d[part], label && !there:
		case label:
			return fmt.Sprintf("value %q of its enum type was renamed to %q", d[part], is)
		default:
			return "its composite type was altered"
		}
	}
	return ""
}

// meets reports whether two definitions have a part in common.
func (d Definition) meets(other Definition) bool {
	for part := range d {
		if _, common := other[part]; common {
			return true
		}
	}
	return false
}
