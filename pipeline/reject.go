package pipeline

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
)

// lostKey begins the record key of a row whose key's own columns cannot hold it. No key
// that Hudi writes begins so: of one column, a % in front is followed by another, by
// nothing or by a _; of several, the name of a column is.
const lostKey = "%!"

// rejectedKeys is keys with those in it that rejects have in place of one that does not fit.
func rejectedKeys(b *change.Batch, keys *array.String) *array.String {
	lost := false
	for _, r := range b.Rejects {
		lost = lost || r.NoKey
	}
	if !lost {
		return keys
	}
	out := array.NewStringBuilder(memory.DefaultAllocator)
	for row := range keys.Len() {
		if r := b.Rejects[row]; r != nil && r.NoKey {
			out.Append(lostKey + jsonList(r.Key))
		} else {
			out.Append(keys.Value(row))
		}
	}
	return out.NewStringArray()
}

func jsonList(s []string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("pipeline: strings that are no JSON: " + err.Error())
	}
	return string(b)
}

// encodeReject and decodeReject are for spill files, which only this process reads.
func encodeReject(r *change.Reject) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("pipeline: a reject that is no JSON: " + err.Error())
	}
	return b
}

func decodeReject(b []byte) *change.Reject {
	r := new(change.Reject)
	if err := json.Unmarshal(b, r); err != nil {
		panic("pipeline: read what was spilled: " + err.Error())
	}
	return r
}

// whyIncomplete is the reason of a row that fits, and is not there as a whole.
const whyIncomplete = "the value was not sent, since it was left as it was, and the row's version before is in quarantine too"

// incomplete is the reject of a row some of whose values are those of a row in quarantine.
func incomplete(s *slab, row int) *change.Reject {
	r := &change.Reject{Reason: whyIncomplete}
	values := map[string]*string{}
	for c, col := range s.Table.Columns {
		if s.Unchanged != nil && s.Unchanged[c].Get(row) {
			if r.Unsent = append(r.Unsent, col.Name); r.Column == "" {
				r.Column, r.Type = col.Name, col.Type
			}
			continue
		}
		values[col.Name] = printed(s.Rows.Column(c), row)
	}
	for _, k := range s.Table.Key {
		if v := values[s.Table.Columns[k].Name]; v != nil {
			r.Key = append(r.Key, *v)
		}
	}
	var err error
	if r.Row, err = json.Marshal(values); err != nil {
		panic("pipeline: a row that is no JSON: " + err.Error())
	}
	return r
}

// printed is a value as PostgreSQL reads it, nil where it is null.
func printed(a arrow.Array, row int) *string {
	if a.IsNull(row) {
		return nil
	}
	s := strings.Clone(a.ValueStr(row))
	if b, ok := a.(*array.Binary); ok {
		s = `\x` + hex.EncodeToString(b.Value(row))
	}
	return &s
}

// setAside takes out the rows that need a value of a row which is in quarantine.
func (r *reduction) setAside(held func(key string) bool) {
	left := r.upserts[:0]
	for _, at := range r.upserts {
		if r.lacks(at, held) {
			r.rejects[at] = incomplete(r.slabs[at.slab], int(at.row))
			r.aside = append(r.aside, at)
		} else {
			left = append(left, at)
		}
	}
	r.upserts = left
}

// lacks reports whether a value of a row is that of a key that is held.
func (r *reduction) lacks(at ref, held func(key string) bool) bool {
	s := r.slabs[at.slab]
	for c, u := range s.Unchanged {
		if !u.Get(int(at.row)) {
			continue
		}
		if _, key, ok := r.value(at, c); !ok && held(key) {
			return true
		}
	}
	return false
}

// forgetLost takes out the keys that no row of the table can have.
func (r *reduction) forgetLost() {
	r.deletes = slices.DeleteFunc(r.deletes, func(key string) bool { return strings.HasPrefix(key, lostKey) })
}
