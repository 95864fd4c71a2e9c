package hudi

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// sharedEvolving are two writers of one table.
func sharedEvolving(t *testing.T, typ TableType, fields ...arrow.Field) (s *shared, one, two *Table) {
	t.Helper()
	s = &shared{store: newStore(t), typ: typ, buckets: 4, lock: testStorageLock}
	one, err := Create(t.Context(), s.store, CreateOptions{
		Name: "model", Type: typ, Schema: evolvingSchema(fields), RecordKey: []string{"id"}, OrderingField: "seq", Options: s.options(s.store),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, one, s.open(t, s.store)
}

func beginWith(t *testing.T, table *Table, opts TxnOptions) *Txn {
	t.Helper()
	x, err := table.Begin(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// putInto writes a row of a key, with the rest of it as JSON, in a transaction.
func putInto(t *testing.T, table *Table, x *Txn, key, rest string) {
	t.Helper()
	batch := jsonRows(t, x.Schema().Fields(), `[{"id":"`+key+`","seq":1`+rest+`}]`)
	g, err := x.Group(t.Context(), "", table.Bucket(key))
	if err == nil {
		var keys *array.String
		if keys, err = RecordKeys(batch, []string{"id"}); err == nil {
			err = g.Upsert(t.Context(), batch, keys)
		}
	}
	if err == nil {
		err = g.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCommitBehindRewrite publishes files of a schema behind a commit that wrote the whole table
// anew in another one: what it says of columns that no file has left would be wrong.
func TestCommitBehindRewrite(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		s, one, two := sharedEvolving(t, typ, nullable("v", testInt))
		a, b := twoKeys(one)
		x := beginWith(t, one, TxnOptions{})
		putInto(t, one, x, a, `,"v":1`)
		mustCommit(t, x)
		x = beginWith(t, two, TxnOptions{})
		putInto(t, two, x, b, `,"v":7`)
		e := &evolving{t, one}
		e.rewrite()
		if _, err := x.Commit(t.Context(), nil); err == nil {
			t.Error("published files of the schema of before")
		}
		if err := x.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		e.table = s.open(t, s.store)
		e.must(e.take(nullable("v", testText)))
		e.want(ReadOptions{}, `{"id":"`+a+`","v":null}`)
	})
}

// TestLogOfOldStruct logs rows in a schema while another writer takes on one in which hudi-rs
// does not read them, whoever commits first.
func TestLogOfOldStruct(t *testing.T) {
	t.Parallel()
	p, q := nullable("p", testInt), nullable("q", testInt)
	pq, qp := nullable("s", arrow.StructOf(p, q)), nullable("s", arrow.StructOf(q, p))
	for _, schemaFirst := range []bool{true, false} {
		s, one, two := sharedEvolving(t, MergeOnRead, pq)
		a, _ := twoKeys(one)
		x := beginWith(t, one, TxnOptions{})
		putInto(t, one, x, a, `,"s":{"p":1,"q":2}`)
		mustCommit(t, x)
		x = beginWith(t, two, TxnOptions{})
		putInto(t, two, x, a, `,"s":{"p":3,"q":4}`)
		y := beginWith(t, one, TxnOptions{Schema: evolvingSchema([]arrow.Field{qp})})
		first, second := x, y
		if schemaFirst {
			first, second = y, x
		}
		mustCommit(t, first)
		if _, err := second.Commit(t.Context(), nil); err == nil {
			t.Errorf("schema first %v: both were published", schemaFirst)
		}
		late := s.open(t, s.store)
		if err := late.checkLogs(t.Context(), late.Timeline(), late.Schema()); err != nil {
			t.Errorf("schema first %v: %v", schemaFirst, err)
		}
	}
}
