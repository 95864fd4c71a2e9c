package hudi

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
)

// joinFields joins a file's columns to those of the files before it.
func joinFields(fields, more []arrow.Field, later bool) ([]arrow.Field, error) {
	found := map[string]bool{}
	for _, f := range more {
		if schema.IsMeta(f.Name) {
			return nil, fmt.Errorf("column %s is one of Hudi's own: read the table that the file is of, not the file", f.Name)
		}
		found[f.Name] = true
		t, err := importType(f.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		at := slices.IndexFunc(fields, func(o arrow.Field) bool { return o.Name == f.Name })
		if at < 0 {
			fields = append(fields, arrow.Field{Name: f.Name, Type: t, Nullable: f.Nullable || later})
			continue
		}
		if fields[at].Type, err = widerOf(fields[at].Type, t); err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		fields[at].Nullable = fields[at].Nullable || f.Nullable
	}
	for n := range fields {
		fields[n].Nullable = fields[n].Nullable || !found[fields[n].Name]
	}
	return fields, nil
}

// widerOf is the type that holds the values of both.
func widerOf(a, b arrow.DataType) (arrow.DataType, error) {
	switch {
	case arrow.TypeEqual(a, b):
		return a, nil
	case column.Castable(a, b):
		return b, nil
	case column.Castable(b, a):
		return a, nil
	}
	return nil, fmt.Errorf("it is %s here and %s in a file before", b, a)
}

// importType is the type of a table's column for one of a file.
func importType(t arrow.DataType) (arrow.DataType, error) {
	switch t := t.(type) {
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Uint8Type, *arrow.Uint16Type:
		return arrow.PrimitiveTypes.Int32, nil
	case *arrow.Uint32Type:
		return arrow.PrimitiveTypes.Int64, nil
	case *arrow.Float16Type:
		return arrow.PrimitiveTypes.Float32, nil
	case *arrow.LargeStringType, *arrow.StringViewType:
		return arrow.BinaryTypes.String, nil
	case *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return arrow.BinaryTypes.Binary, nil
	case *arrow.Date64Type:
		return arrow.FixedWidthTypes.Date32, nil
	case *arrow.Time32Type, *arrow.Time64Type:
		return arrow.BinaryTypes.String, nil
	case *arrow.TimestampType:
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case *arrow.DictionaryType:
		return importType(t.ValueType)
	case *arrow.BooleanType, *arrow.Int32Type, *arrow.Int64Type, *arrow.Float32Type, *arrow.Float64Type, *arrow.StringType, *arrow.BinaryType, *arrow.Date32Type, *arrow.Decimal128Type:
		return t, nil
	case arrow.ExtensionType:
		return importType(t.StorageType())
	}
	return importNested(t)
}

func importNested(t arrow.DataType) (arrow.DataType, error) {
	switch t := t.(type) {
	case *arrow.MapType:
		if key, err := importType(t.KeyType()); err != nil || key.ID() != arrow.STRING {
			return nil, fmt.Errorf("a map whose keys are %s: only text is a key in Hudi", t.KeyType())
		}
		item, err := importType(t.ItemType())
		if err != nil {
			return nil, err
		}
		return arrow.MapOfFields(arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: item, Nullable: t.ItemField().Nullable}), nil
	case arrow.ListLikeType:
		elem, err := importType(t.Elem())
		if err != nil {
			return nil, err
		}
		return arrow.ListOfField(arrow.Field{Name: "element", Type: elem, Nullable: t.ElemField().Nullable}), nil
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i, f := range t.Fields() {
			ft, err := importType(f.Type)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", f.Name, err)
			}
			fields[i] = arrow.Field{Name: f.Name, Type: ft, Nullable: f.Nullable}
		}
		return arrow.StructOf(fields...), nil
	}
	return nil, fmt.Errorf("a Hudi table has no type for %s: write it as another type first", t)
}

// importBatch makes rows of a table's schema of a file's, column by name.
func importBatch(ctx context.Context, batch arrow.RecordBatch, to *arrow.Schema) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, to.NumFields())
	defer column.Release(columns)
	for i, f := range to.Fields() {
		at := batch.Schema().FieldIndices(f.Name)
		if len(at) == 0 {
			columns[i] = array.MakeArrayOfNull(column.Allocator, f.Type, int(batch.NumRows()))
			continue
		}
		col, err := importColumn(ctx, batch.Column(at[0]), f.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		columns[i] = col
	}
	return array.NewRecordBatch(to, columns, batch.NumRows()), nil
}

// importColumn makes a column of type t, with every value as it was or an error. The
// caller releases it.
func importColumn(ctx context.Context, col arrow.Array, t arrow.DataType) (arrow.Array, error) {
	if arrow.TypeEqual(col.DataType(), t) {
		col.Retain()
		return col, nil
	}
	switch c := col.(type) {
	case array.ExtensionArray:
		return importColumn(ctx, c.Storage(), t)
	case *array.FixedSizeBinary:
		return bytesColumn(c), nil
	case *array.Time32, *array.Time64:
		return timeColumn(col), nil
	case *array.Struct:
		return importStruct(ctx, c, t.(*arrow.StructType))
	case *array.List, *array.LargeList, *array.FixedSizeList, *array.Map:
		return importList(ctx, c.(array.ListLike), t)
	}
	from := col
	if ts, ok := col.DataType().(*arrow.TimestampType); ok && ts.TimeZone != "UTC" { // values are of UTC whatever the zone
		from = column.Relabel(col, &arrow.TimestampType{Unit: ts.Unit, TimeZone: "UTC"}, nil)
		defer from.Release()
	}
	out, err := compute.CastArray(ctx, from, compute.SafeCastOptions(t))
	if err != nil {
		return nil, fmt.Errorf("make %s of %s: %w", t, col.DataType(), err)
	}
	return out, nil
}

func bytesColumn(col *array.FixedSizeBinary) arrow.Array {
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	for i := range col.Len() {
		if col.IsNull(i) {
			b.AppendNull()
		} else {
			b.Append(col.Value(i))
		}
	}
	return b.NewArray()
}

// timeColumn is times of day as text: 23:59:59.123456.
func timeColumn(col arrow.Array) arrow.Array {
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	for i := range col.Len() {
		if col.IsNull(i) {
			b.AppendNull()
		} else {
			b.Append(col.ValueStr(i))
		}
	}
	return b.NewArray()
}

func importStruct(ctx context.Context, s *array.Struct, t *arrow.StructType) (arrow.Array, error) {
	fields := make([]arrow.Array, t.NumFields())
	defer column.Release(fields)
	for i, f := range t.Fields() {
		var err error
		if fields[i], err = importColumn(ctx, s.Field(i), f.Type); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	children := make([]arrow.ArrayData, len(fields))
	for i, f := range fields {
		children[i] = f.Data()
	}
	return rebuild(s, t, children, nil), nil
}

// importList makes a list of any kind of list, or a map of a map.
func importList(ctx context.Context, list array.ListLike, t arrow.DataType) (arrow.Array, error) {
	elem := t.(arrow.ListLikeType).Elem()
	offsets := array.NewInt32Builder(column.Allocator)
	defer offsets.Release()
	first, last := int64(0), int64(0)
	if n := list.Len(); n > 0 {
		first, _ = list.ValueOffsets(0)
		_, last = list.ValueOffsets(n - 1)
	}
	for i := range list.Len() {
		from, _ := list.ValueOffsets(i)
		offsets.Append(int32(from - first))
	}
	offsets.Append(int32(last - first))
	part := array.NewSlice(list.ListValues(), first, last)
	defer part.Release()
	values, err := importColumn(ctx, part, elem)
	if err != nil {
		return nil, err
	}
	defer values.Release()
	at := offsets.NewInt32Array()
	defer at.Release()
	return rebuild(list, t, []arrow.ArrayData{values.Data()}, at), nil
}

// rebuild is an array of type t with the nulls of col and other children, and where it is
// a list other offsets.
func rebuild(col arrow.Array, t arrow.DataType, children []arrow.ArrayData, offsets *array.Int32) arrow.Array {
	valid := array.NewBooleanBuilder(column.Allocator)
	defer valid.Release()
	for i := range col.Len() {
		valid.Append(col.IsValid(i))
	}
	bits := valid.NewBooleanArray()
	defer bits.Release()
	buffers := []*memory.Buffer{bits.Data().Buffers()[1]}
	if offsets != nil {
		buffers = append(buffers, offsets.Data().Buffers()[1])
	}
	data := array.NewData(t, col.Len(), buffers, children, col.NullN(), 0)
	defer data.Release()
	return array.MakeFromData(data)
}
