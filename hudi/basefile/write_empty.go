package basefile

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go/format"

	"lakefeed/hudi/schema"
)

// createdBy is the writer in a footer. Files of arrowWriter, ours were among them, may
// state a least text that is not the least one: see [backed].
const (
	createdBy   = "lakefeed version 1 (build arrow-go " + arrow.PkgVersion + ")"
	arrowWriter = "parquet-go version "
)

// backed is col, to be released by the caller, with bytes behind each array of texts.
// Texts that are all "" may have none, and Arrow's statistics then take them for no values:
// the least text of a page or a chunk was one that another batch had.
func backed(col arrow.Array) arrow.Array {
	data, changed := backedData(col.Data())
	if !changed {
		col.Retain()
		return col
	}
	defer data.Release()
	return array.MakeFromData(data)
}

func backedData(d arrow.ArrayData) (out arrow.ArrayData, changed bool) {
	buffers, children := slices.Clone(d.Buffers()), slices.Clone(d.Children())
	if id := d.DataType().ID(); arrow.IsBaseBinary(id) && (buffers[2] == nil || buffers[2].Bytes() == nil) {
		buffers[2], changed = memory.NewBufferBytes([]byte{}), true
	}
	for i, child := range children {
		if made, other := backedData(child); other {
			defer made.Release()
			children[i], changed = made, true
		}
	}
	if !changed {
		return d, false
	}
	return array.NewData(d.DataType(), d.Len(), buffers, children, d.NullN(), d.Offset()), true
}

// doubtLeast notes the columns of a file whose least value may be "" whatever it states.
func (f *File) doubtLeast() {
	if !strings.HasPrefix(f.meta.CreatedBy, arrowWriter) {
		return
	}
	for i := range f.leaves {
		l := &f.leaves[i]
		l.maybeEmpty = l.elem.Type.V == format.ByteArray && l.path != schema.RecordKey
	}
}

// least is a stated least value, or "" where that is in doubt.
func (l *leaf) least(stated []byte) []byte {
	if l.maybeEmpty {
		return []byte{}
	}
	return stated
}
