package parity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Diff compares two lists of canonical rows as multisets, all columns but those
// named in except. The order of rows and of columns does not count: Spark moves
// partition columns to the end. It returns "" when they are the same, else the
// counts and the first rows that only one has.
func Diff(want, got []string, except ...string) string {
	w, errW := sorted(want, except)
	g, errG := sorted(got, except)
	if errW != nil || errG != nil {
		return fmt.Sprintf("rows that are not JSON: %v, %v", errW, errG)
	}
	var missing, extra []string
	for len(w) > 0 || len(g) > 0 {
		switch {
		case len(g) == 0 || len(w) > 0 && w[0] < g[0]:
			missing, w = append(missing, w[0]), w[1:]
		case len(w) == 0 || g[0] < w[0]:
			extra, g = append(extra, g[0]), g[1:]
		default:
			w, g = w[1:], g[1:]
		}
	}
	if len(missing) == 0 && len(extra) == 0 {
		return ""
	}
	return fmt.Sprintf("%d rows wanted, %d got; %d missing, %d not wanted%s%s", len(want), len(got), len(missing), len(extra),
		first("missing", missing), first("not wanted", extra))
}

func first(what string, rows []string) string {
	var b strings.Builder
	for _, r := range rows[:min(2, len(rows))] {
		fmt.Fprintf(&b, "\n\t%s: %s", what, r)
	}
	return b.String()
}

// sorted returns the rows without the columns of except, the others in the order of
// their names, sorted.
func sorted(rows, except []string) ([]string, error) {
	out := make([]string, len(rows))
	for i, r := range rows {
		d := json.NewDecoder(strings.NewReader(r))
		d.UseNumber()
		var v map[string]any
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		for _, column := range except {
			delete(v, column)
		}
		for column, x := range v {
			v[column] = number(x)
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		out[i] = strings.TrimSuffix(b.String(), "\n")
	}
	slices.Sort(out)
	return out, nil
}

// number writes floating point numbers in one way, within lists and structs too: engines and
// databases print 1e20, 1e+20 and 100000000000000000000 for the same. Integers are left alone.
func number(x any) any {
	switch x := x.(type) {
	case json.Number:
		return float(x)
	case []any:
		for i := range x {
			x[i] = number(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = number(x[k])
		}
	}
	return x
}

func float(n json.Number) any {
	if _, err := n.Int64(); err == nil {
		return n
	}
	f, err := n.Float64()
	if err != nil {
		return n
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}
