package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

const (
	schemaFolder = ".hoodie/.schema"
	schemaSuffix = ".schemacommit"
)

// schemaHistory is that of a table whose columns were renamed, dropped or moved by
// Hudi's schema evolution on read: files are read by the numbers of the columns.
type schemaHistory struct {
	now      *schema.Internal // the one to read in
	versions []*schema.Internal
}

// historyOf is the history of a table that is read in a schema, given as a commit has
// it. It is nil for a table that never needed one, and for versions no later than
// until ("": all).
func (t *Table) historyOf(ctx context.Context, tl *timeline.Timeline, latest, until string) (*schemaHistory, error) {
	now, err := schema.ParseInternal(latest)
	if err != nil || now == nil {
		return nil, err
	}
	h := &schemaHistory{now: now}
	if h.versions, err = t.readHistory(ctx, tl, until); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(h.versions, func(v *schema.Internal) bool { return v.Version == now.Version }) {
		h.versions = append(h.versions, now)
	}
	slices.SortFunc(h.versions, func(a, b *schema.Internal) int { return strings.Compare(versionTime(a), versionTime(b)) })
	return h, nil
}

// readHistory reads the newest file of the schema folder, which repeats the older ones.
func (t *Table) readHistory(ctx context.Context, tl *timeline.Timeline, until string) ([]*schema.Internal, error) {
	newest := ""
	for info, err := range t.store.List(ctx, schemaFolder, false) {
		if errors.Is(err, storage.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list schema history: %w", err)
		}
		time, ok := strings.CutSuffix(path.Base(info.Name), schemaSuffix)
		if ok && (until == "" || time <= until) && counts(tl, time) {
			newest = max(newest, time)
		}
	}
	if newest == "" {
		return nil, nil
	}
	name := path.Join(schemaFolder, newest+schemaSuffix)
	text, _, err := t.store.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	versions, err := schema.ParseHistory(text)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok { // others count from where their schema begins
		err = offset.At(e.Offset, err)
	}
	if err != nil {
		return nil, &CorruptError{name, err}
	}
	return versions, nil
}

func versionTime(s *schema.Internal) string { return fmt.Sprintf("%017d", s.Version) }

// at is the schema in which an instant wrote its files.
func (h *schemaHistory) at(instant string) *schema.Internal {
	found := h.versions[0]
	for _, v := range h.versions {
		if versionTime(v) <= instant {
			found = v
		}
	}
	return found
}

// version tells instants with different schemas apart.
func (h *schemaHistory) version(instant string) string {
	if h == nil {
		return ""
	}
	return strconv.FormatInt(h.at(instant).Version, 10)
}

// shape says how the columns of a schema are read from a file of an older one: under
// the names that read has for them.
type shape struct{ want, read *arrow.Schema }

// shapeOf is the shape of the files of an instant.
func (s *sliceScan) shapeOf(want *arrow.Schema, instant string) shape {
	if s.history == nil {
		return shape{want, want}
	}
	return shape{want, s.history.now.In(s.history.at(instant), want)}
}

// fit makes of a batch, whose columns stand where read has them, one of want. The
// caller releases it.
func (s shape) fit(batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	if batch.Schema() == s.want {
		batch.Retain()
		return batch, nil
	}
	columns := make([]arrow.Array, batch.NumCols())
	defer column.Release(columns)
	for i, f := range s.want.Fields() {
		col, err := column.Evolve(batch.Column(i), s.read.Field(i).Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		columns[i] = col
		if s.read != s.want {
			columns[i] = named(col, f.Type)
			col.Release()
		}
	}
	return array.NewRecordBatch(s.want, columns, batch.NumRows()), nil
}

// named is col, whose type differs from t by the names of nested fields only, as t.
func named(col arrow.Array, t arrow.DataType) arrow.Array {
	data := namedData(col.Data(), t)
	defer data.Release()
	return array.MakeFromData(data)
}

func namedData(d arrow.ArrayData, t arrow.DataType) arrow.ArrayData {
	var types []arrow.DataType
	switch t := t.(type) {
	case *arrow.StructType:
		for _, f := range t.Fields() {
			types = append(types, f.Type)
		}
	case *arrow.ListType:
		types = []arrow.DataType{t.Elem()}
	case *arrow.MapType:
		types = []arrow.DataType{t.Elem()}
	}
	children := make([]arrow.ArrayData, len(types))
	for i, ct := range types {
		children[i] = namedData(d.Children()[i], ct)
		defer children[i].Release()
	}
	return array.NewData(t, d.Len(), d.Buffers(), children, d.NullN(), d.Offset())
}

// latestSchema is the internal schema of the newest commit up to an instant ("": of
// all) that has one, as it stands there.
func (t *Table) latestSchema(ctx context.Context, tl *timeline.Timeline, until string) (string, error) {
	for _, i := range slices.Backward(tl.Completed()) {
		if until != "" && i.Time > until {
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return "", err
		}
		if m.ExtraMetadata[timeline.SchemaKey] != "" {
			return m.ExtraMetadata[schema.LatestKey], nil
		}
	}
	return "", nil
}
