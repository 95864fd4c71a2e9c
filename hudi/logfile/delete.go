package logfile

// DeleteKey names a row to delete.
type DeleteKey struct {
	Key       string
	Partition string
}

// OrderingKind is the type of a delete's ordering value.
type OrderingKind int

// The kinds of an ordering value, in the order of Hudi's union.
const (
	NoOrdering OrderingKind = iota
	BooleanOrdering
	IntOrdering
	LongOrdering
	FloatOrdering
	DoubleOrdering
	BytesOrdering
	StringOrdering
	DateOrdering
	DecimalOrdering
	TimeMicrosOrdering
	TimestampMicrosOrdering
)

// Ordering is the value by which a delete is compared with the row that it meets.
type Ordering struct {
	Kind  OrderingKind
	Int   int64   // boolean, int, long, date, times
	Float float64 // float, double
	Bytes []byte  // bytes, string, decimal (two's complement, scale 15)
}

// Natural tells whether the delete goes without an order and always wins.
func (o Ordering) Natural() bool {
	return o.Kind == NoOrdering || o.Kind == IntOrdering && o.Int == 0
}

// DeleteRecord is a delete as a block holds it.
type DeleteRecord struct {
	DeleteKey
	Ordering Ordering
}

// DecodeDeletes returns the records of a delete block's content.
func DecodeDeletes(content []byte) ([]DeleteRecord, error) { return nil, nil }

func appendDeletes(dst []byte, keys []DeleteKey) []byte { return dst }
