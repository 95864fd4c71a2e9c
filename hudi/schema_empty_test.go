package hudi

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestEmptyStructs are refused by name, when a table is made and when it gets new columns.
func TestEmptyStructs(t *testing.T) {
	t.Parallel()
	empty := arrow.StructOf()
	for path, typ := range map[string]arrow.DataType{
		"s": empty, "s.element": arrow.ListOfField(arrow.Field{Name: "element", Type: empty}),
		"s.a.b": arrow.StructOf(arrow.Field{Name: "a", Type: arrow.StructOf(arrow.Field{Name: "b", Type: empty})}),
	} {
		with := arrow.NewSchema(append(modelSchema.Fields(), arrow.Field{Name: "s", Type: typ, Nullable: true}), nil)
		_, made := Create(t.Context(), newStore(t), CreateOptions{Name: "model", Schema: with, RecordKey: []string{"id"}, OrderingField: "seq"})
		_, evolved := newTable(t, newStore(t), CopyOnWrite, 1).Begin(t.Context(), TxnOptions{Schema: with})
		for _, err := range []error{made, evolved} {
			if e, ok := errors.AsType[*SchemaError](err); !ok || e.Column != path || !strings.Contains(e.Reason, "without fields") {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestToldBuckets tells a table that says it nowhere its number of hash buckets: a wrong
// one is refused by a file and a row before anything is written.
func TestToldBuckets(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 3)
	rows := map[string]modelRow{"a": {}, "b": {}, "c": {}, "d": {}, "e": {}, "f": {}}
	mustUpsert(t, table, rows)
	last, _ := table.Timeline().Last()
	text, _, err := store.Get(t.Context(), table.instantFile(last))
	if err == nil {
		err = store.Put(t.Context(), table.instantFile(last), []byte(strings.ReplaceAll(string(text), BucketsKey, "other")))
	}
	if err != nil {
		t.Fatal(err)
	}
	for told, want := range map[int]string{2: "none of the 2 buckets", 4: ".parquet has the row of key", 3: ""} {
		table, err := Open(t.Context(), store, Options{Buckets: told})
		if err == nil {
			var txn *Txn
			if txn, err = table.Begin(t.Context(), TxnOptions{}); err == nil {
				err = txn.Abort(t.Context())
			}
		}
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d buckets: %v, want %q", told, err, want)
		}
	}
}
