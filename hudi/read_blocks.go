package hudi

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
)

// blockSchema is what the header of data blocks says of their records.
type blockSchema struct {
	avro     string
	own      *arrow.Schema
	partial  bool // the records have the changed columns only
	scanning *blockScan
	decoders map[*arrow.Schema]*blockDecoder // by the schema of the rows
}

// schema is that of a data block.
func (l *mergedLogs) schema(s *sliceScan, b *logfile.Block) (*blockSchema, error) {
	avro, partial := b.Header[logfile.Schema], b.Header[logfile.IsPartial] == "true"
	id := strconv.FormatBool(partial) + s.history.version(b.Instant()) + avro
	if bs := l.schemas[id]; bs != nil {
		return bs, nil
	}
	own, err := schema.ToArrow(avro)
	if err != nil {
		return nil, fmt.Errorf("schema of the block: %w", err)
	}
	bs := &blockSchema{avro: avro, own: own, partial: partial, decoders: map[*arrow.Schema]*blockDecoder{}}
	l.schemas[id] = bs
	return bs, nil
}

// whole tells whether no record of the block takes anything over from an older one.
func (b *blockSchema) whole(rule mergeRule) bool { return !b.partial && rule.fill == fillNothing }

// lacks tells whether the block's records leave a column as it is.
func (b *blockSchema) lacks(name string) bool { return b.partial && !b.own.HasField(name) }

// blockScan finds in Avro records what merging needs.
type blockScan struct {
	scanner    *logfile.Scanner
	values     []logfile.Value
	deleteType arrow.DataType
	order      []orderField
	from       []arrow.DataType // of the ordering fields, in the block
	orders     []logfile.Value
	texts      []logfile.Value // the columns that may hold the marker
	nulls      bool            // any record may take something over
}

// The first columns of a scan; then come the ordering fields and the texts.
const (
	scanKey = iota
	scanDeleted
	scanOperation
	scanDeleteField
	scanOrder
)

// scan is the block's scan; its schema's is made once.
func (b *blockSchema) scan(s *sliceScan) (*blockScan, error) {
	if b.scanning != nil {
		return b.scanning, nil
	}
	rule := s.table.merge
	sc := &blockScan{nulls: rule.fill == fillNulls || b.partial}
	columns := []string{keyColumn, deletedColumn, operationColumn, rule.deleteField}
	if f, ok := b.own.FieldsByName(rule.deleteField); ok {
		sc.deleteType = f[0].Type
	}
	order, err := newOrdering(rule.order, s.full)
	if err != nil {
		return nil, err
	}
	if order != nil {
		sc.order = order.fields
	}
	for _, f := range sc.order {
		from, err := b.orderType(f)
		if err != nil {
			return nil, err
		}
		sc.from = append(sc.from, from)
		columns = append(columns, f.name)
	}
	texts := len(columns)
	if rule.fill == fillMarker {
		for _, name := range textColumns(b.own) {
			if !slices.Contains(columns, name) { // what orders and deletes is no marker
				columns = append(columns, name)
			}
		}
	}
	if sc.scanner, err = logfile.NewScanner(b.avro, columns...); err != nil {
		return nil, err
	}
	sc.values = make([]logfile.Value, len(columns))
	sc.orders, sc.texts = sc.values[scanOrder:texts], sc.values[texts:]
	b.scanning = sc
	return sc, nil
}

// orderType is the type that the block has for an ordering field, nil for none.
func (b *blockSchema) orderType(f orderField) (arrow.DataType, error) {
	own, ok := b.own.FieldsByName(f.name)
	if !ok {
		return nil, nil //nolint:nilnil // an older block may lack it
	}
	if _, ok := f.normal(logfile.Value{Valid: true}, own[0].Type); !ok {
		return nil, &UnsupportedError{"ordering field", f.name, fmt.Sprintf("a log block has %s for it, which does not compare with the table's %s", own[0].Type, f.typ)}
	}
	return own[0].Type, nil
}

// textColumns are the columns of a schema that may hold the marker of a value that is
// not there.
func textColumns(s *arrow.Schema) []string {
	var names []string
	for _, f := range s.Fields() {
		if (f.Type.ID() == arrow.STRING || f.Type.ID() == arrow.BINARY) && !schema.IsMeta(f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

func (b *blockScan) orderKey(o *ordering) orderKey {
	for i := range b.orders {
		b.orders[i], _ = b.order[i].normal(b.orders[i], b.from[i]) // orderType saw that it compares
	}
	return o.keyOf(b.orders)
}

// deletes tells whether the record is a delete by what it says itself.
func (b *blockScan) deletes(rule *mergeRule) bool {
	v := b.values
	if v[scanDeleted].Valid && v[scanDeleted].Int != 0 || v[scanOperation].Valid && deleteOperation(string(v[scanOperation].Bytes)) {
		return true
	}
	f := v[scanDeleteField]
	if b.deleteType == nil || !f.Valid {
		return false
	}
	switch b.deleteType.ID() {
	case arrow.STRING:
		return rule.deletes(string(f.Bytes))
	case arrow.BOOL:
		return rule.deletes(strconv.FormatBool(f.Int != 0))
	default:
		return rule.deletes(strconv.FormatInt(f.Int, 10))
	}
}

// deleteOperation tells whether _hoodie_operation says that the record's row is gone.
func deleteOperation(op string) bool { return op == "D" || op == "-U" }

// whole tells whether the record takes nothing over from an older one.
func (b *blockScan) whole(marker string) bool {
	if b.nulls {
		return false
	}
	for _, v := range b.texts {
		if v.Valid && string(v.Bytes) == marker {
			return false
		}
	}
	return true
}

// scanRows notes the records of a block by decoding the columns that merging needs.
func (s *sliceScan) scanRows(ctx context.Context, logs *mergedLogs, i int32, b *logfile.Block) error {
	bs, err := logs.schema(s, b)
	if err != nil {
		return err
	}
	schema, n := s.mergeSchema(), int32(0)
	whole := bs.whole(s.table.merge)
	return logs.rows(ctx, s, b, schema, nil, func(batch arrow.RecordBatch) error {
		keys, err := s.table.keys.of(batch)
		if err != nil {
			return err
		}
		defer keys.Release()
		m := newMergeColumns(batch, logs.order, s.table.merge)
		for row := range int(batch.NumRows()) {
			w, key := winner{block: i, record: n}, orderKey{}
			if logs.order != nil {
				key = m.orderKey(row)
			}
			if m.deletes(row) {
				w.block = deletedAs(logs.order, key)
			}
			s.note(logs, basefile.HashKey(keys.Value(row)), w, key, whole || !bs.partial && m.whole(row))
			n++
		}
		return nil
	})
}

// mergeSchema are the columns that merging needs.
func (s *sliceScan) mergeSchema() *arrow.Schema {
	if s.merging != nil {
		return s.merging
	}
	rule := s.table.merge
	names := append(s.table.keys.columns(), rule.order...)
	names = append(names, deletedColumn, operationColumn, rule.deleteField)
	if rule.fill == fillMarker {
		names = append(names, textColumns(s.full)...)
	}
	var fields []arrow.Field
	seen := map[string]bool{}
	for _, name := range names {
		if f, ok := s.full.FieldsByName(name); ok && !seen[name] {
			seen[name] = true
			f[0].Nullable = true
			fields = append(fields, f[0])
		}
	}
	s.merging = arrow.NewSchema(fields, nil)
	return s.merging
}

// mergeColumns are a batch's columns that merging needs.
type mergeColumns struct {
	rule        mergeRule
	order       *ordering
	orders      []arrow.Array
	values      []logfile.Value
	deleted     *array.Boolean
	operation   *array.String
	deleteField arrow.Array
	texts       []arrow.Array
}

func newMergeColumns(batch arrow.RecordBatch, order *ordering, rule mergeRule) *mergeColumns {
	m := &mergeColumns{rule: rule, order: order}
	if order != nil {
		m.orders, m.values = order.columns(batch), make([]logfile.Value, len(order.fields))
	}
	m.deleted, _ = columnOf(batch, deletedColumn).(*array.Boolean)
	m.operation, _ = columnOf(batch, operationColumn).(*array.String)
	m.deleteField = columnOf(batch, rule.deleteField)
	if rule.fill == fillMarker {
		for _, name := range textColumns(batch.Schema()) {
			m.texts = append(m.texts, columnOf(batch, name))
		}
	}
	return m
}

// columnOf is a column by name, nil for none.
func columnOf(batch arrow.RecordBatch, name string) arrow.Array {
	if at := batch.Schema().FieldIndices(name); len(at) > 0 {
		return batch.Column(at[0])
	}
	return nil
}

func (m *mergeColumns) orderKey(row int) orderKey {
	if m.orders == nil {
		clear(m.values)
		return m.order.keyOf(m.values)
	}
	return m.order.rowKey(m.orders, row, m.values)
}

func (m *mergeColumns) deletes(row int) bool {
	return m.deleted != nil && m.deleted.IsValid(row) && m.deleted.Value(row) ||
		m.operation != nil && m.operation.IsValid(row) && deleteOperation(m.operation.Value(row)) ||
		m.deleteField != nil && m.deleteField.IsValid(row) && m.rule.deletes(m.deleteField.ValueStr(row))
}

func (m *mergeColumns) whole(row int) bool {
	if m.rule.fill == fillNulls {
		return false
	}
	for _, t := range m.texts {
		if isMarker(t, row, m.rule.marker) {
			return false
		}
	}
	return true
}

// isMarker tells whether a column's value is the marker of one that is not there.
func isMarker(col arrow.Array, row int, marker string) bool {
	if col.IsNull(row) {
		return false
	}
	switch col := col.(type) {
	case *array.String:
		return col.Value(row) == marker
	case *array.Binary:
		return string(col.Value(row)) == marker
	}
	return false
}

// rows yields records of a data block as rows of a schema, in batches: those that
// wanted names, in that order, or all where it is nil.
func (l *mergedLogs) rows(ctx context.Context, s *sliceScan, b *logfile.Block, want *arrow.Schema, wanted []int32, yield func(arrow.RecordBatch) error) error {
	bs, err := l.schema(s, b)
	if err != nil {
		return err
	}
	if b.Type == logfile.ParquetData {
		return s.parquetRows(ctx, b, want, wanted, yield)
	}
	d, err := bs.decoder(s, b.Instant(), want)
	if err != nil {
		return err
	}
	return d.rows(b, s.batchRows, wanted, yield)
}

// blockDecoder makes rows of Avro records.
type blockDecoder struct {
	decoder *logfile.Decoder
	decoded *arrow.Schema // as the decoder makes them
	shape   shape
}

func (b *blockSchema) decoder(s *sliceScan, instant string, want *arrow.Schema) (*blockDecoder, error) {
	if d := b.decoders[want]; d != nil {
		return d, nil
	}
	sh := s.shapeOf(want, instant)
	decoded, err := logfile.Decodable(b.avro, sh.read)
	if err != nil {
		return nil, err
	}
	dec, err := logfile.NewDecoder(b.avro, decoded)
	if err != nil {
		return nil, err
	}
	d := &blockDecoder{dec, decoded, sh}
	b.decoders[want] = d
	return d, nil
}

func (d *blockDecoder) rows(b *logfile.Block, batchRows int, wanted []int32, yield func(arrow.RecordBatch) error) error {
	content, err := b.Content(nil)
	if err != nil {
		return err
	}
	rows := array.NewRecordBuilder(column.Allocator, d.decoded)
	defer rows.Release()
	n, held := int32(0), 0
	for record, err := range logfile.Records(content) {
		if err != nil {
			return err
		}
		if wanted == nil || len(wanted) > 0 && wanted[0] == n {
			if wanted != nil {
				wanted = wanted[1:]
			}
			if err := d.decoder.Append(rows, record); err != nil {
				return err
			}
			held++
		}
		if n++; held == batchRows {
			if err := d.flush(rows, yield); err != nil {
				return err
			}
			held = 0
		}
	}
	if held == 0 {
		return nil
	}
	return d.flush(rows, yield)
}

func (d *blockDecoder) flush(rows *array.RecordBuilder, yield func(arrow.RecordBatch) error) error {
	batch := rows.NewRecordBatch()
	defer batch.Release()
	fit, err := d.shape.fit(batch)
	if err != nil {
		return err
	}
	defer fit.Release()
	return yield(fit)
}

func (s *sliceScan) parquetRows(ctx context.Context, b *logfile.Block, want *arrow.Schema, wanted []int32, yield func(arrow.RecordBatch) error) error {
	sh := s.shapeOf(want, b.Instant())
	all, n := wanted == nil, int32(0)
	return eachParquet(ctx, b, sh.read, func(batch arrow.RecordBatch) error {
		fit, err := sh.fit(batch)
		if err != nil {
			return err
		}
		defer fit.Release()
		if all {
			return yield(fit)
		}
		var sel []int32
		end := n + int32(fit.NumRows())
		for ; len(wanted) > 0 && wanted[0] < end; wanted = wanted[1:] {
			sel = append(sel, wanted[0]-n)
		}
		n = end
		if len(sel) == 0 {
			return nil
		}
		kept, err := column.Take(fit, sel)
		if err != nil {
			return err
		}
		defer kept.Release()
		return yield(kept)
	})
}

// eachParquet reads a log block that is a Parquet file.
func eachParquet(ctx context.Context, b *logfile.Block, schema *arrow.Schema, fn func(arrow.RecordBatch) error) error {
	section := b.Section()
	r, err := basefile.Open(section, section.Size(), schema)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return r.Each(ctx, fn)
}
