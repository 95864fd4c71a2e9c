package query

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// intervalText is an interval as DuckDB and PostgreSQL print it: 1 year 2 mons 3 days 04:05:06.7.
func intervalText(v arrow.MonthDayNanoInterval) string {
	var parts []string
	add := func(n int32, one string) {
		switch n {
		case 0:
		case 1, -1:
			parts = append(parts, fmt.Sprintf("%d %s", n, one))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, one))
		}
	}
	add(v.Months/12, "year")
	add(v.Months%12, "month")
	add(v.Days, "day")
	micros := v.Nanoseconds / 1000
	if micros != 0 || len(parts) == 0 {
		sign := ""
		if micros < 0 {
			sign, micros = "-", -micros
		}
		clock := fmt.Sprintf("%s%02d:%02d:%02d", sign, micros/3_600_000_000, micros/60_000_000%60, micros/1_000_000%60)
		if f := micros % 1_000_000; f != 0 {
			clock += "." + strings.TrimRight(fmt.Sprintf("%06d", f), "0")
		}
		parts = append(parts, clock)
	}
	return strings.Join(parts, " ")
}
