package postgres

import (
	"encoding/binary"
	"math"
)

// appendShape writes a geometric value; those of a fixed length have it.
func appendShape(dst, v []byte, k kind) ([]byte, error) {
	switch k {
	case point:
		return appendPoints(dst, v, "", ""), nil
	case segment:
		return appendPoints(dst, v, "[", "]"), nil
	case box:
		return appendPoints(dst, v, "", ""), nil
	case line:
		return append(appendCoordinates(append(dst, '{'), v), '}'), nil
	case circle:
		dst = appendPoints(append(dst, '<'), v[:16], "", "")
		return append(appendCoordinates(append(dst, ','), v[16:]), '>'), nil
	default: // paths and polygons
	}
	open := false
	if k == path {
		if len(v) == 0 {
			return dst, errMalformed
		}
		open, v = v[0] == 0, v[1:]
	}
	if len(v) < 4 || len(v)-4 != 16*int(binary.BigEndian.Uint32(v)) {
		return dst, errMalformed
	}
	if open {
		return appendPoints(dst, v[4:], "[", "]"), nil
	}
	return appendPoints(dst, v[4:], "(", ")"), nil
}

// appendPoints writes points, "(1,2),(3,4)", between two brackets.
func appendPoints(dst, v []byte, left, right string) []byte {
	dst = append(dst, left...)
	for i := 0; len(v) > 0; i, v = i+1, v[16:] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendCoordinates(append(dst, '('), v[:16]), ')')
	}
	return append(dst, right...)
}

// appendCoordinates writes numbers with commas between them.
func appendCoordinates(dst, v []byte) []byte {
	for i := 0; len(v) > 0; i, v = i+1, v[8:] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(v)), 64)
	}
	return dst
}
