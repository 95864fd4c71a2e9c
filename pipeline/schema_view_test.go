package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// TestNarrowed brings values into narrower types, those that fit.
func TestNarrowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to arrow.DataType
		in, want string
		unfit    []int
	}{
		{arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, "[1,-2147483648,2147483648,null]", "[1 -2147483648 (null) (null)]", []int{2}},
		{arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, "[1,null]", "[1 (null)]", nil},
		{arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float32, "[0.5,0.1,1e300]", "[0.5 (null) (null)]", []int{1, 2}},
		{&arrow.Decimal128Type{Precision: 12, Scale: 3}, &arrow.Decimal128Type{Precision: 5, Scale: 2}, `["123.450","123.456","1234.5"]`, "[123.45 (null) (null)]", []int{1, 2}},
	} {
		a, _, err := array.FromJSON(mem, c.from, strings.NewReader(c.in))
		if err != nil {
			t.Fatal(err)
		}
		got, unfit, err := narrowed(a, c.to)
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for i := range got.Len() {
			values = append(values, got.ValueStr(i))
		}
		if fmt.Sprint(values) != c.want || fmt.Sprint(unfit) != fmt.Sprint(c.unfit) {
			t.Errorf("%s to %s: %v, %v do not fit", c.from, c.to, values, unfit)
		}
	}
	if _, _, err := narrowed(array.NewStringBuilder(mem).NewArray(), arrow.PrimitiveTypes.Int32); err == nil {
		t.Error("text is brought into numbers")
	}
}

// TestCopyPauses lets copies that changes of a schema ask for come one after the other.
func TestCopyPauses(t *testing.T) {
	t.Parallel()
	p, now := new(Pipeline), time.Now()
	for _, c := range []struct {
		ages []time.Duration // of the copies before
		want time.Duration   // from now
	}{
		{nil, 0},
		{[]time.Duration{time.Second}, 0},
		{[]time.Duration{time.Minute, time.Second}, 4 * time.Second},
		{[]time.Duration{time.Minute, time.Minute, time.Second}, 9 * time.Second},
		{[]time.Duration{2 * time.Hour, 2 * time.Hour, time.Second}, 0},
		{make([]time.Duration, 60), copyPause << (copyPauses - 1)},
		{[]time.Duration{-25 * time.Hour, -24 * time.Hour, -24 * time.Hour}, 0}, // the clock was set back since
		{[]time.Duration{-24 * time.Hour, time.Minute, time.Second}, 4 * time.Second},
	} {
		r := new(schemaRecord)
		for _, age := range c.ages {
			r.Copies = append(r.Copies, now.Add(-age))
		}
		got := max(0, p.copyAfter(&target{schema: r}).Sub(now))
		if got.Round(time.Second) != c.want {
			t.Errorf("%v: in %s, want %s", c.ages, got, c.want)
		}
	}
}

// TestConstraintChanges tells of constraints what people would.
func TestConstraintChanges(t *testing.T) {
	t.Parallel()
	v := &change.Table{ID: 1, Columns: []change.Column{{Name: "a", ID: 1, Type: "integer", Arrow: arrow.PrimitiveTypes.Int32, Nullable: true}}, Constraints: map[string]string{"kept": "check (a)", "gone": "unique (a)"}}
	var d description
	d.describe(v)
	d.Constraints = v.Constraints
	next := *v
	next.Columns = []change.Column{v.Columns[0]}
	next.Columns[0].Nullable = false
	next.Constraints = map[string]string{"kept": "check (b)", "new": "unique (b)"}
	var said []string
	for _, c := range d.changes(&next, nil) {
		if c.Kind != ConstraintChanged {
			t.Errorf("%+v", c)
		}
		said = append(said, c.String())
	}
	want := "column a is not null and was nullable; constraint gone was dropped: unique (a); constraint kept is check (b) and was check (a); constraint new was added: unique (b)"
	if got := strings.Join(said, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
