package hudi

import (
	"cmp"
	"fmt"
	"strings"
)

// mergeRule says what becomes of two records with one key: which of them counts, when
// one is a delete, and what it takes over from the other. Of records that the rule
// does not tell apart the later one counts.
type mergeRule struct {
	// order names the ordering fields, the first one deciding: the record with the
	// greater value counts. Nil: the later one counts.
	order []string
	// A record whose deleteField says deleteMarker is a delete, beside those that say
	// so by Hudi's own columns.
	deleteField, deleteMarker string
	anyCase                   bool // of deleteMarker

	fill   fillMode
	marker string // of fillMarker
}

// fillMode says which columns of the record that counts keep the older record's value.
type fillMode int

const (
	fillNothing fillMode = iota
	fillMarker           // text and binary columns that hold the marker
	fillNulls            // columns that are null
)

// Classes and names of merging, as hoodie.properties has them.
const (
	payloadPackage     = "org.apache.hudi.common.model."
	payloadOverwrite   = payloadPackage + "OverwriteWithLatestAvroPayload"
	payloadEventTime   = payloadPackage + "DefaultHoodieRecordPayload"
	payloadEventTime2  = payloadPackage + "EventTimeAvroPayload"
	payloadNonDefaults = payloadPackage + "OverwriteNonDefaultsWithLatestAvroPayload"
	payloadPartial     = payloadPackage + "PartialUpdateAvroPayload"
	payloadDMS         = payloadPackage + "AWSDmsAvroPayload"
	payloadPostgres    = payloadPackage + "debezium.PostgresDebeziumAvroPayload"

	mergeCommitTime = "COMMIT_TIME_ORDERING"
	mergeEventTime  = "EVENT_TIME_ORDERING"
	mergeCustom     = "CUSTOM"

	strategyCommitTime = "ce9acb64-bde0-424c-9b91-f6ebba25356d"
	strategyEventTime  = "eeb8d96f-b1e4-49fd-bbf8-28ac514178e5"

	propMergeStrategy = "hoodie.record.merge.strategy.id"
	propPartialUpdate = "hoodie.table.partial.update.mode"
	propLegacyPayload = "hoodie.table.legacy.payload.class"
	propMergeProperty = "hoodie.record.merge.property."
	propDeleteField   = "hoodie.payload.delete.field"
	propDeleteMarker  = "hoodie.payload.delete.marker"
	propUnavailable   = "hoodie.write.partial.update.unavailable.value"

	debeziumUnavailable = "__debezium_unavailable_value"
)

// mergeRule reads the rule of a table from its properties: by the payload class up to
// version 8, where no merge mode stands, and by merge mode and merge properties later.
// A rule that is code of the table's makers is refused by its name.
func (p Properties) mergeRule() (mergeRule, error) {
	r := mergeRule{deleteField: p.mergeProperty(propDeleteField), deleteMarker: p.mergeProperty(propDeleteMarker)}
	if (r.deleteField == "") != (r.deleteMarker == "") {
		return r, &CorruptError{propertiesFile, fmt.Errorf("%s is %q and %s is %q: one needs the other", propDeleteField, r.deleteField, propDeleteMarker, r.deleteMarker)}
	}
	mode := p[propMergeMode]
	if p[propVersion] == version6 && mode != mergeCustom {
		mode = "" // its payload class says it, whatever else stands there
	}
	switch mode {
	case mergeCommitTime:
	case mergeEventTime:
		r.order = p.orderingFields()
	case "", mergeCustom:
		if err := r.byPayload(p, mode); err != nil {
			return r, err
		}
	default:
		return r, &UnsupportedError{"merge mode", mode, "it is not known here"}
	}
	return r, r.partialUpdates(p)
}

// mergeProperty is a property of merging, with the prefix of version 9 or without.
func (p Properties) mergeProperty(key string) string {
	return cmp.Or(p[propMergeProperty+key], p[key])
}

// orderingFields are the columns that order changes, the first one deciding.
func (p Properties) orderingFields() []string {
	if f := p.list(propOrdering); len(f) > 0 {
		return f
	}
	return p.list(propPrecombine)
}

// byPayload is the rule of a payload class.
func (r *mergeRule) byPayload(p Properties, mode string) error {
	class := cmp.Or(p[propPayload], p[propLegacyPayload])
	switch class {
	case "", payloadOverwrite:
		if mode == mergeCustom || class == "" && p[propVersion] != version6 {
			return r.byStrategy(p, mode)
		}
	case payloadEventTime, payloadEventTime2:
		r.order = p.orderingFields()
	case payloadNonDefaults:
		r.fill = fillNulls
	case payloadPartial:
		r.order, r.fill = p.orderingFields(), fillNulls
	case payloadDMS:
		r.deleteField, r.deleteMarker = "Op", "D"
	case payloadPostgres:
		r.order, r.fill, r.marker = []string{"_event_lsn"}, fillMarker, debeziumUnavailable
		r.deleteField, r.deleteMarker, r.anyCase = "_change_operation_type", "d", true
	default:
		return &UnsupportedError{"payload class", class, "its way of merging rows is code of its own: compact the table by Spark and read it as read-optimized there"}
	}
	return nil
}

// byStrategy is the rule of a merge strategy, where no payload class stands.
func (r *mergeRule) byStrategy(p Properties, mode string) error {
	switch id := p[propMergeStrategy]; {
	case id == strategyEventTime, id == "" && mode == "":
		r.order = p.orderingFields()
	case id == strategyCommitTime:
	default:
		return &UnsupportedError{"merge mode", strings.TrimSpace(cmp.Or(mode, mergeCustom) + " " + id), "its way of merging rows is code of its own"}
	}
	return nil
}

// partialUpdates takes over what version 9 says of columns that a change leaves out.
func (r *mergeRule) partialUpdates(p Properties) error {
	switch mode := p[propPartialUpdate]; mode {
	case "", "NONE":
	case "IGNORE_DEFAULTS":
		r.fill = fillNulls
	case "FILL_UNAVAILABLE":
		r.fill, r.marker = fillMarker, cmp.Or(p.mergeProperty(propUnavailable), debeziumUnavailable)
	default:
		return &UnsupportedError{"partial update mode", mode, "it is not known here"}
	}
	return nil
}

// latestWins tells whether of two records the later one counts as it is, which is how
// this package's writer merges.
func (r *mergeRule) latestWins() bool {
	return len(r.order) == 0 && r.fill == fillNothing && r.deleteField == ""
}

// deletes tells whether a record is a delete by what its deleteField says.
func (r *mergeRule) deletes(value string) bool {
	return value == r.deleteMarker || r.anyCase && strings.EqualFold(value, r.deleteMarker)
}
