package config

import (
	"fmt"
	"strings"
)

// Nearest says, as "; did you mean X?", which of the valid names was most likely
// meant by one that is not among them. It is empty where none is near.
func Nearest(name string, valid []string) string {
	best := nearest(name, valid)
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// nearest is the valid name that was most likely meant, empty where none is near.
func nearest(name string, valid []string) string {
	best, at := "", len(name)/2+2
	for _, v := range valid {
		if n := distance(strings.ToLower(name), v); n < at {
			best, at = v, n
		}
	}
	return best
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
