package hudi

import (
	"net/url"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/basefile"
)

// may tells whether the condition, which has no parts, may be true of one of the values.
func (c *condition) may(b basefile.Bounds) bool {
	if c.op == filterNull {
		return b.Nulls
	}
	if c.op == filterNotNull || !b.Values || b.Low.Kind != basefile.KindOf(c.typ) {
		return b.Values
	}
	switch c.op {
	case filterIn:
		for i := range c.values {
			above, ok := c.values[i].Compare(&b.Low)
			below, _ := c.values[i].Compare(&b.High)
			if !ok || above >= 0 && below <= 0 {
				return true
			}
		}
		return false
	case filterNotIn:
		same, ok := b.Low.Compare(&b.High)
		return !ok || same != 0 || b.Low.Kind == basefile.FloatKind || c.holds(&b.Low) // a float may be no number, which bounds leave out
	default:
	}
	v := &b.Low
	if c.op == filterGreater || c.op == filterGreaterEqual {
		v = &b.High
	}
	order, ok := v.Compare(&c.values[0])
	return !ok || inOrder(c.op, order)
}

// ranges are the rows of a row group of which the condition may be true.
func (c *condition) ranges(f *basefile.File, g int) ([]basefile.Range, error) {
	join := basefile.Union
	out := []basefile.Range(nil)
	switch c.op {
	case filterAnd:
		join, out = basefile.Intersect, f.AllRows(g)
	case filterOr:
	default:
		return f.RowsWhere(g, c.column, c.typ, c.may)
	}
	for i := range c.of {
		part, err := c.of[i].ranges(f, g)
		if err != nil {
			return nil, err
		}
		out = join(out, part)
	}
	return out, nil
}

// mayPartition tells whether the condition may be true of a row in a partition.
func (c *condition) mayPartition(p partitioning, path string) bool {
	switch c.op {
	case filterAnd:
		return !slices.ContainsFunc(c.of, func(part condition) bool { return !part.mayPartition(p, path) })
	case filterOr:
		return slices.ContainsFunc(c.of, func(part condition) bool { return part.mayPartition(p, path) })
	default:
		return c.may(p.boundsOf(path, c.column, c.typ))
	}
}

// boundsOf are those of a partition column, as the path of a partition states them.
func (p partitioning) boundsOf(path, column string, t arrow.DataType) basefile.Bounds {
	at := slices.Index(p.fields, column)
	folders := strings.Split(path, "/")
	if at < 0 || len(folders) != len(p.fields) {
		return basefile.Anything
	}
	text := folders[at]
	if p.hive {
		var ok bool
		if text, ok = strings.CutPrefix(text, column+"="); !ok {
			return basefile.Anything
		}
	}
	if p.encode {
		var err error
		if text, err = url.PathUnescape(text); err != nil {
			return basefile.Anything
		}
	}
	switch t.ID() {
	case arrow.STRING, arrow.INT32, arrow.INT64, arrow.BOOL, arrow.DATE32:
		if v, err := parseConstant(text, t); err == nil && text != defaultPartition {
			return basefile.Bounds{Low: v, High: v, Values: true}
		}
	default: // others are written in several ways
	}
	return basefile.Anything
}
