package hudi

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/logfile"
)

// What the properties of the stories say.
var (
	commitTime = Properties{propPayload: payloadOverwrite, propPrecombine: "n"}
	eventTime  = Properties{propPayload: payloadEventTime, propPrecombine: "n"}
	postgres   = Properties{propPayload: payloadPostgres, propPrecombine: "_event_lsn"}
	nonNulls   = Properties{propPayload: payloadNonDefaults, propPrecombine: "n"}
	partial    = Properties{propPayload: payloadPartial, propPrecombine: "n"}
)

var mergeFields = []arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "b", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "_change_operation_type", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: deletedColumn, Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "Op", Type: arrow.BinaryTypes.String, Nullable: true},
}

// X19fZGViZXppdW1fdW5hdmFpbGFibGVfdmFsdWU= is __debezium_unavailable_value.
const (
	gone    = `"__debezium_unavailable_value"`
	goneRaw = `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`
)

// TestMerge tells, for each rule of merging, what becomes of a key's records.
func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name  string
		props Properties
		story []string
		want  []string
	}{
		{
			"commit time: the later record counts", commitTime,
			[]string{`base [{"id":"k","n":9,"a":"base"}]`, `log [{"id":"k","n":5,"a":"first"}]`, `log [{"id":"k","n":3,"a":"second"}]`},
			[]string{`{"id":"k","n":3,"a":"second"}`},
		},
		{
			"commit time: a delete wins, whatever its ordering value", commitTime,
			[]string{`base [{"id":"k","n":9},{"id":"stays","n":1}]`, `delete k long 1`},
			[]string{`{"id":"stays","n":1}`},
		},
		{
			"commit time: a record after a delete counts", commitTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k`, `log [{"id":"k","n":1,"a":"again"}]`},
			[]string{`{"id":"k","n":1,"a":"again"}`},
		},

		{
			"event time: the greater ordering value counts, in the log", eventTime,
			[]string{`base [{"id":"k","n":1}]`, `log [{"id":"k","n":5,"a":"newer"}]`, `log [{"id":"k","n":3,"a":"late"}]`},
			[]string{`{"id":"k","n":5,"a":"newer"}`},
		},
		{
			"event time: and in the base file", eventTime,
			[]string{`base [{"id":"k","n":9,"a":"base"}]`, `log [{"id":"k","n":5,"a":"late"}]`},
			[]string{`{"id":"k","n":9,"a":"base"}`},
		},
		{
			"event time: of equal ones the later counts", eventTime,
			[]string{`base [{"id":"k","n":5,"a":"base"}]`, `log [{"id":"k","n":5,"a":"first"}]`, `log [{"id":"k","n":5,"a":"second"}]`},
			[]string{`{"id":"k","n":5,"a":"second"}`},
		},
		{
			"event time: a record comes after one without a value", eventTime,
			[]string{`base [{"id":"k","a":"base"}]`, `log [{"id":"k","n":-5,"a":"log"}]`},
			[]string{`{"id":"k","n":-5,"a":"log"}`},
		},
		{
			"event time: a delete without order wins", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `log [{"id":"k","n":10}]`, `delete k`},
			nil,
		},
		{
			"event time: so does the int 0", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k int 0`},
			nil,
		},
		{
			"event time: the long 0 has an order", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k long 0`},
			[]string{`{"id":"k","n":9}`},
		},
		{
			"event time: any record of the log comes after a delete without order", eventTime,
			[]string{`base [{"id":"k","n":1}]`, `log [{"id":"k","n":9}]`, `delete k`, `log [{"id":"k","n":2,"a":"again"}]`},
			[]string{`{"id":"k","n":2,"a":"again"}`},
		},
		{
			"event time: and is then compared with the base file's row, as Hudi does", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k`, `log [{"id":"k","n":1,"a":"again"}]`},
			[]string{`{"id":"k","n":9}`},
		},
		{
			"event time: a delete with a smaller value is late", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `log [{"id":"j","n":9}]`, `delete k long 5`, `delete j long 8`},
			[]string{`{"id":"j","n":9}`, `{"id":"k","n":9}`},
		},
		{
			"event time: with a greater one it counts, and later records may be late", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k long 30`, `log [{"id":"k","n":20,"a":"late"}]`},
			nil,
		},
		{
			"event time: an int is compared with a long as a number", eventTime,
			[]string{`base [{"id":"k","n":9},{"id":"j","n":9}]`, `delete k int 5`, `delete j int 10`},
			[]string{`{"id":"k","n":9}`},
		},
		{
			"event time: a delete whose value does not compare wins", eventTime,
			[]string{`base [{"id":"k","n":9}]`, `delete k string 1`},
			nil,
		},
		{
			"event time: a Parquet block is merged as an Avro one", eventTime,
			[]string{`base [{"id":"k","n":9,"a":"base"},{"id":"j","n":1}]`, `parquet [{"id":"k","n":5,"a":"late"},{"id":"j","n":2,"a":"newer"},{"id":"new","n":1}]`},
			[]string{`{"id":"j","n":2,"a":"newer"}`, `{"id":"k","n":9,"a":"base"}`, `{"id":"new","n":1}`},
		},

		{
			"_hoodie_is_deleted deletes", commitTime,
			[]string{`base [{"id":"k","n":1},{"id":"j","n":1}]`, `log [{"id":"k","n":2,"_hoodie_is_deleted":true},{"id":"j","n":2,"_hoodie_is_deleted":false}]`},
			[]string{`{"id":"j","n":2,"_hoodie_is_deleted":false}`},
		},
		{
			"_hoodie_is_deleted deletes in a Parquet block", eventTime,
			[]string{`base [{"id":"k","n":1}]`, `parquet [{"id":"k","n":2,"_hoodie_is_deleted":true}]`},
			nil,
		},
		{
			"_hoodie_is_deleted is late as any record may be", eventTime,
			[]string{`base [{"id":"k","n":3,"a":"base"}]`, `log [{"id":"k","n":2,"_hoodie_is_deleted":true}]`},
			[]string{`{"id":"k","n":3,"a":"base"}`},
		},
		{
			"_hoodie_is_deleted without an ordering value wins", eventTime,
			[]string{`base [{"id":"k","n":3,"a":"base"}]`, `log [{"id":"k","_hoodie_is_deleted":true}]`},
			nil,
		},
		{
			"the delete marker deletes",
			Properties{propPayload: payloadEventTime, propPrecombine: "n", propDeleteField: "Op", propDeleteMarker: "gone"},
			[]string{`base [{"id":"k","n":1},{"id":"j","n":1}]`, `log [{"id":"k","n":2,"Op":"gone"},{"id":"j","n":2,"Op":"Gone"}]`},
			[]string{`{"id":"j","n":2,"Op":"Gone"}`},
		},
		{
			"AWS DMS: Op D deletes, and the later record counts",
			Properties{propPayload: payloadDMS},
			[]string{`base [{"id":"k","n":9},{"id":"j","n":1}]`, `log [{"id":"k","n":1,"Op":"D"},{"id":"j","n":0,"Op":"U"}]`},
			[]string{`{"id":"j","n":0,"Op":"U"}`},
		},

		{
			"Debezium: d deletes, in either case", postgres,
			[]string{`base [{"id":"k","_event_lsn":1},{"id":"j","_event_lsn":1}]`, `log [{"id":"k","_event_lsn":2,"_change_operation_type":"d"},{"id":"j","_event_lsn":2,"_change_operation_type":"D"}]`},
			nil,
		},
		{
			"Debezium: what is older by its LSN is late", postgres,
			[]string{`base [{"id":"k","_event_lsn":7,"a":"base"}]`, `log [{"id":"k","_event_lsn":6,"a":"late","_change_operation_type":"u"}]`},
			[]string{`{"id":"k","a":"base","_event_lsn":7}`},
		},
		{
			"Debezium: a column that is not there keeps the stored value", postgres,
			[]string{`base [{"id":"k","_event_lsn":1,"a":"base","b":"AQ=="}]`, `log [{"id":"k","n":2,"_event_lsn":2,"a":` + gone + `,"b":` + goneRaw + `}]`},
			[]string{`{"id":"k","n":2,"a":"base","b":"AQ==","_event_lsn":2}`},
		},
		{
			"Debezium: of several records each column has its newest value", postgres,
			[]string{
				`base [{"id":"k","_event_lsn":1,"a":"base","b":"AQ=="}]`,
				`log [{"id":"k","n":2,"_event_lsn":2,"a":"log","b":` + goneRaw + `}]`, `parquet [{"id":"k","n":3,"_event_lsn":3,"a":` + gone + `,"b":` + goneRaw + `}]`,
			},
			[]string{`{"id":"k","n":3,"a":"log","b":"AQ==","_event_lsn":3}`},
		},
		{
			"Debezium: a late record fills what a newer one lacks", postgres,
			[]string{
				`base [{"id":"k","_event_lsn":1,"a":"base"}]`,
				`log [{"id":"k","n":3,"_event_lsn":3,"a":` + gone + `}]`, `log [{"id":"k","n":2,"_event_lsn":2,"a":"late"}]`,
			},
			[]string{`{"id":"k","n":3,"a":"late","_event_lsn":3}`},
		},
		{
			"Debezium: without an older row the marker stays", postgres,
			[]string{`base []`, `log [{"id":"k","_event_lsn":2,"a":` + gone + `}]`},
			[]string{`{"id":"k","a":` + gone + `,"_event_lsn":2}`},
		},
		{
			"Debezium: a row that was deleted fills nothing", postgres,
			[]string{`base [{"id":"k","_event_lsn":1,"a":"base"}]`, `delete k`, `log [{"id":"k","_event_lsn":3,"a":` + gone + `}]`},
			[]string{`{"id":"k","a":` + gone + `,"_event_lsn":3}`},
		},

		{
			"non-defaults: a null keeps the stored value, and the later record counts", nonNulls,
			[]string{`base [{"id":"k","n":9,"a":"base","b":"AQ=="}]`, `log [{"id":"k","n":1,"b":"Ag=="}]`},
			[]string{`{"id":"k","n":1,"a":"base","b":"Ag=="}`},
		},
		{
			"partial updates by payload: the greater one counts, nulls are filled from the other", partial,
			[]string{`base [{"id":"k","n":2,"a":"base"},{"id":"j","n":2}]`, `log [{"id":"k","n":1,"a":"late","b":"Ag=="},{"id":"j","n":3,"a":"log"}]`},
			[]string{`{"id":"j","n":3,"a":"log"}`, `{"id":"k","n":2,"a":"base","b":"Ag=="}`},
		},

		{
			"a partial block changes the columns that it has", commitTime,
			[]string{`base [{"id":"k","n":1,"a":"base","b":"AQ=="},{"id":"j","n":1}]`, `partial id,n,a [{"id":"k","n":2,"a":"log"}]`, `partial id,b [{"id":"k","b":"Ag=="}]`},
			[]string{`{"id":"j","n":1}`, `{"id":"k","n":2,"a":"log","b":"Ag=="}`},
		},
		{
			"a partial block may set a column to null", commitTime,
			[]string{`base [{"id":"k","n":1,"a":"base","b":"AQ=="}]`, `partial id,a [{"id":"k"}]`},
			[]string{`{"id":"k","n":1,"b":"AQ=="}`},
		},
		{
			"a partial block over a whole record of the log", eventTime,
			[]string{`base [{"id":"k","n":1,"a":"base","b":"AQ=="}]`, `log [{"id":"k","n":2,"a":"log"}]`, `partial id,n,a [{"id":"k","n":3,"a":"part"}]`},
			[]string{`{"id":"k","n":3,"a":"part"}`},
		},
		{
			"a late partial block changes nothing of a whole row", eventTime,
			[]string{`base [{"id":"k","n":5,"a":"base"}]`, `partial id,n,b [{"id":"k","n":2,"b":"Ag=="}]`},
			[]string{`{"id":"k","n":5,"a":"base"}`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t, c.props, mergeFields...)
			for _, line := range c.story {
				f.step(line)
			}
			got, err := f.read(ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
			compacted(t, f, c.want)
		})
	}
}

// compacted compacts a table of another writer's, as far as it is of version 6, however its
// rows are merged: the base file has then what a read had merged.
func compacted(t *testing.T, f *foreign, want []string) {
	t.Helper()
	if f.props[propVersion] != version6 {
		return
	}
	table, err := Open(t.Context(), f.store, Options{})
	if err == nil {
		_, err = table.Compact(t.Context(), CompactOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.read(ReadOptions{ReadOptimized: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("compacted: got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	_, err = table.Begin(t.Context(), TxnOptions{})
	var refused *UnsupportedError
	if table.merge.latestWins() != (err == nil || !errors.As(err, &refused) || refused.What != "merging") {
		t.Errorf("a write: %v", err)
	}
}

// TestMergeRule reads the rules of all versions.
func TestMergeRule(t *testing.T) {
	for _, c := range []struct{ props, want string }{
		{"6", "latest"},
		{"6 payload=OverwriteWithLatestAvroPayload precombine=n", "latest"},
		{"6 payload=DefaultHoodieRecordPayload precombine=n", "order n"},
		{"6 payload=EventTimeAvroPayload precombine=n", "order n"},
		{"6 payload=DefaultHoodieRecordPayload", "latest"},
		{"6 payload=debezium.PostgresDebeziumAvroPayload precombine=x", "order _event_lsn fill marker __debezium_unavailable_value delete _change_operation_type=d"},
		{"6 payload=AWSDmsAvroPayload", "delete Op=D"},
		{"6 payload=PartialUpdateAvroPayload precombine=n", "order n fill nulls"},
		{"6 payload=OverwriteNonDefaultsWithLatestAvroPayload precombine=n", "fill nulls"},
		{"6 payload=debezium.MySqlDebeziumAvroPayload", "refused org.apache.hudi.common.model.debezium.MySqlDebeziumAvroPayload"},
		{"6 payload=com.example.Mine", "refused com.example.Mine"},
		{"6 strategy=eeb8d96f-b1e4-49fd-bbf8-28ac514178e5 payload=OverwriteWithLatestAvroPayload precombine=n", "latest"},
		{"8 mode=EVENT_TIME_ORDERING payload=DefaultHoodieRecordPayload precombine=n", "order n"},
		{"8 mode=COMMIT_TIME_ORDERING precombine=n", "latest"},
		{"8 mode=CUSTOM payload=debezium.PostgresDebeziumAvroPayload", "order _event_lsn fill marker __debezium_unavailable_value delete _change_operation_type=d"},
		{"8 mode=CUSTOM payload=com.example.Mine", "refused com.example.Mine"},
		{"8 mode=CUSTOM strategy=1897ef5f-18bc-4557-939c-9d6a8afd1519", "refused CUSTOM 1897ef5f-18bc-4557-939c-9d6a8afd1519"},
		{"8 mode=CUSTOM", "refused CUSTOM"},
		{"9 mode=EVENT_TIME_ORDERING ordering=n,m", "order n,m"},
		{"9 ordering=n", "order n"},
		{"9 strategy=ce9acb64-bde0-424c-9b91-f6ebba25356d ordering=n", "latest"},
		{"9 mode=COMMIT_TIME_ORDERING ordering=n", "latest"},
		{"9 mode=EVENT_TIME_ORDERING ordering=_event_lsn partial=FILL_UNAVAILABLE unavailable=? field=_change_operation_type marker=d", "order _event_lsn fill marker ? delete _change_operation_type=d"},
		{"9 mode=EVENT_TIME_ORDERING ordering=n partial=FILL_UNAVAILABLE", "order n fill marker __debezium_unavailable_value"},
		{"9 mode=COMMIT_TIME_ORDERING partial=IGNORE_DEFAULTS", "fill nulls"},
		{"9 mode=COMMIT_TIME_ORDERING partial=KEEP_VALUES", "refused KEEP_VALUES"},
		{"9 mode=WHATEVER", "refused WHATEVER"},
		{"9 mode=EVENT_TIME_ORDERING field=op", "damaged"},
	} {
		if got := ruleText(ruleProperties(c.props).mergeRule()); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.props, got, c.want)
		}
	}
}

func ruleProperties(text string) Properties {
	keys := map[string]string{
		"payload": propPayload, "precombine": propPrecombine, "ordering": propOrdering, "mode": propMergeMode, "strategy": propMergeStrategy, "partial": propPartialUpdate,
		"unavailable": propMergeProperty + propUnavailable, "field": propMergeProperty + propDeleteField, "marker": propMergeProperty + propDeleteMarker,
	}
	words := strings.Fields(text)
	p := Properties{propVersion: words[0]}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		if k == "payload" && !strings.HasPrefix(v, "com.") {
			v = payloadPackage + v
		}
		p[keys[k]] = v
	}
	return p
}

func ruleText(r mergeRule, err error) string {
	var unsupported *UnsupportedError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &unsupported):
		return "refused " + unsupported.Value
	case errors.As(err, &corrupt):
		return "damaged"
	case err != nil:
		return err.Error()
	case r.latestWins():
		return "latest"
	}
	var words []string
	if len(r.order) > 0 {
		words = append(words, "order "+strings.Join(r.order, ","))
	}
	switch r.fill {
	case fillMarker:
		words = append(words, "fill marker "+r.marker)
	case fillNulls:
		words = append(words, "fill nulls")
	case fillNothing:
	}
	if r.deleteField != "" {
		words = append(words, fmt.Sprintf("delete %s=%s", r.deleteField, r.deleteMarker))
	}
	return strings.Join(words, " ")
}

// TestOrderingTypes merges by an ordering field of each type: in each the values stand
// in their order, and a record, a delete and a base file's row with a smaller one are
// late.
func TestOrderingTypes(t *testing.T) {
	for _, c := range []struct {
		name    string
		typ     arrow.DataType
		small   string // as JSON
		great   string
		deletes [3]string // of a delete: a kind, and values between small and great and after great
	}{
		{"bool", arrow.FixedWidthTypes.Boolean, `false`, `true`, [3]string{"bool", "false", "true"}},
		{"int", arrow.PrimitiveTypes.Int32, `-5`, `7`, [3]string{"int", "6", "8"}},
		{"long", arrow.PrimitiveTypes.Int64, `-9223372036854775807`, `9223372036854775806`, [3]string{"long", "9223372036854775805", "9223372036854775807"}},
		{"long by int", arrow.PrimitiveTypes.Int64, `1`, `3`, [3]string{"int", "2", "4"}},
		{"float", arrow.PrimitiveTypes.Float32, `-1.5`, `0.25`, [3]string{"float", "-0.5", "1"}},
		{"double", arrow.PrimitiveTypes.Float64, `-1e300`, `1e-300`, [3]string{"double", "-1", "1"}},
		{"double by long", arrow.PrimitiveTypes.Float64, `1.5`, `3.5`, [3]string{"long", "2", "4"}},
		{"date", arrow.FixedWidthTypes.Date32, `"1969-01-01"`, `"2026-01-01"`, [3]string{"date", "0", "30000"}},
		{"timestamp", arrow.FixedWidthTypes.Timestamp_us, `"1969-12-31 23:59:59Z"`, `"1970-01-01 00:00:02Z"`, [3]string{"timestamp", "1000000", "3000000"}},
		{"timestamp by long", arrow.FixedWidthTypes.Timestamp_us, `"1969-12-31 23:59:59Z"`, `"1970-01-01 00:00:02Z"`, [3]string{"long", "1000000", "3000000"}},
		{"string", arrow.BinaryTypes.String, `"10"`, `"9"`, [3]string{"string", "1000", "99"}},
		{"bytes", arrow.BinaryTypes.Binary, `"AA=="`, `"/w=="`, [3]string{"bytes", "a", "\xff\xff"}},
		{"decimal", &arrow.Decimal128Type{Precision: 10, Scale: 2}, `"-1.50"`, `"2.50"`, [3]string{"decimal", "1000000000000000", "3000000000000000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, format := range []string{"log", "parquet"} {
				f := newForeign(t, eventTime,
					arrow.Field{Name: "id", Type: arrow.BinaryTypes.String},
					arrow.Field{Name: "n", Type: c.typ, Nullable: true},
					arrow.Field{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true})
				row := func(id, n, a string) string { return fmt.Sprintf(`{"id":%q,"n":%s,"a":%q}`, id, n, a) }
				f.step("base [" + strings.Join([]string{row("late", c.great, "base"), row("newer", c.small, "base"), row("gone", c.great, "base"), row("kept", c.great, "base")}, ",") + "]")
				f.step(format + " [" + strings.Join([]string{row("late", c.small, "log"), row("newer", c.great, "log"), row("twice", c.great, "log")}, ",") + "]")
				f.step(format + " [" + row("twice", c.small, "late") + "]")
				f.step("delete kept " + c.deletes[0] + " " + c.deletes[1])
				f.step("delete gone " + c.deletes[0] + " " + c.deletes[2])
				got, err := f.read(ReadOptions{Columns: []string{"id", "a"}})
				if err != nil {
					t.Fatal(err)
				}
				if want := []string{`{"id":"kept","a":"base"}`, `{"id":"late","a":"base"}`, `{"id":"newer","a":"log"}`, `{"id":"twice","a":"log"}`}; !slices.Equal(got, want) {
					t.Errorf("%s: got\n\t%s\nwant\n\t%s", format, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
				}
			}
		})
	}
}

// TestMergeMemory bounds what a key of the logs takes.
func TestMergeMemory(t *testing.T) {
	const n = 100_000
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	for field, bound := range map[string]uint64{"": 100, "n": 100, "s": 130} {
		logs := &mergedLogs{winners: map[basefile.KeyHash]winner{}}
		if field != "" {
			var err error
			if logs.order, err = newOrdering([]string{field}, schema); err != nil {
				t.Fatal(err)
			}
		}
		s := &sliceScan{}
		before := heap()
		for round := range 3 { // what newer records replace is let go
			for i := range n {
				key := orderKey{}
				if logs.order != nil {
					key = logs.order.keyOf([]logfile.Value{{Valid: true, Int: int64(round), Bytes: fmt.Appendf(nil, "%d-%08d", round, i)}})
				}
				s.note(logs, basefile.HashKey(strconv.Itoa(i)), winner{block: int32(round), record: int32(i)}, key, true)
			}
		}
		if took := (heap() - before) / n; took > bound {
			t.Errorf("by %q: %d bytes a key, want at most %d", field, took, bound)
		}
		if w := logs.winners[basefile.HashKey("7")]; w.block != 2 || w.record != 7 || len(logs.winners) != n {
			t.Errorf("by %q: the last record does not count: %+v", field, w)
		}
	}
}

// heap is what is in use of it.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
