package postgres

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

// PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.
const (
	epochDays   = 10957
	epochMicros = epochDays * microsPerDay

	microsPerSecond = 1_000_000
	microsPerHour   = 3600 * microsPerSecond
	microsPerDay    = 24 * microsPerHour
)

// The dates that every reader of the lake can print: 0001-01-01 to 9999-12-31.
const (
	minDay    = -719162
	maxDay    = 2932896
	minMicros = minDay * microsPerDay
	maxMicros = (maxDay+1)*microsPerDay - 1
)

var (
	errInfiniteTime = rangeError("infinity is no date")
	errYear         = rangeError("the year is outside 1 to 9999")
)

// dateFromBinary is a date in days since 1970.
func dateFromBinary(v []byte) (int64, error) {
	d := int32(binary.BigEndian.Uint32(v))
	if d == math.MaxInt32 || d == math.MinInt32 {
		return 0, errInfiniteTime
	}
	return within(int64(d)+epochDays, minDay, maxDay)
}

// timestampFromBinary is a timestamp in microseconds since 1970.
func timestampFromBinary(v []byte) (int64, error) {
	t := int64(binary.BigEndian.Uint64(v))
	if t == math.MaxInt64 || t == math.MinInt64 {
		return 0, errInfiniteTime
	}
	if t > maxMicros {
		return 0, errYear // and t + epochMicros might overflow
	}
	return within(t+epochMicros, minMicros, maxMicros)
}

func within(v, least, most int64) (int64, error) {
	if v < least || v > most {
		return 0, errYear
	}
	return v, nil
}

// dateFromText reads "2026-11-05".
func dateFromText(v []byte) (int64, error) {
	days, rest, err := cutDate(v)
	if err == nil && len(rest) > 0 {
		err = errMalformed
	}
	return days, err
}

// timestampFromText reads "2026-11-05 07:08:09.123456", with "+00" behind it
// where it has a time zone: our sessions run under UTC.
func timestampFromText(v []byte) (int64, error) {
	days, rest, err := cutDate(v)
	if err != nil {
		return 0, err
	}
	rest = bytes.TrimSuffix(rest, []byte("+00"))
	if len(rest) < 9 || rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' {
		return 0, errMalformed
	}
	h, ok1 := number(rest[1:3])
	m, ok2 := number(rest[4:6])
	s, ok3 := number(rest[7:9])
	micros, ok4 := fraction(rest[9:])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return 0, errMalformed
	}
	return days*microsPerDay + (h*3600+m*60+s)*microsPerSecond + micros, nil
}

// cutDate reads the date that v begins with.
func cutDate(v []byte) (days int64, rest []byte, err error) {
	if s := string(v); s == "infinity" || s == "-infinity" {
		return 0, nil, errInfiniteTime
	}
	dash := bytes.IndexByte(v, '-')
	if dash > 4 || bytes.HasSuffix(v, []byte(" BC")) {
		return 0, nil, errYear
	}
	if dash != 4 || len(v) < 10 || v[7] != '-' {
		return 0, nil, errMalformed
	}
	y, ok1 := number(v[:4])
	m, ok2 := number(v[5:7])
	d, ok3 := number(v[8:10])
	if !ok1 || !ok2 || !ok3 {
		return 0, nil, errMalformed
	}
	return dayNumber(y, m, d), v[10:], nil
}

// number reads decimal digits.
func number(v []byte) (n int64, ok bool) {
	for _, ch := range v {
		if ch < '0' || ch > '9' {
			return 0, false
		}
		n = n*10 + int64(ch-'0')
	}
	return n, true
}

// fraction reads ".5" as microseconds.
func fraction(v []byte) (micros int64, ok bool) {
	if len(v) == 0 {
		return 0, true
	}
	if v[0] != '.' || len(v) > 7 {
		return 0, false
	}
	n, ok := number(v[1:])
	return n * int64(powers[7-len(v)]), ok
}

// dayNumber is the number of days from 1970-01-01 to a date of the Gregorian
// calendar, which PostgreSQL uses for all times.
func dayNumber(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(y, 400)
	yearOfEra := y - era*400
	dayOfYear := (153*(m-3)+2)/5 + d - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

// civil is the date of a day number; year 0 is 1 BC.
func civil(day int64) (y, m, d int64) {
	day += 719468
	era := floorDiv(day, 146097)
	ofEra := day - era*146097
	yearOfEra := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	dayOfYear := ofEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	mp := (5*dayOfYear + 2) / 153
	y, m, d = yearOfEra+era*400, mp+3, dayOfYear-(153*mp+2)/5+1
	if m > 12 {
		y, m = y+1, m-12
	}
	return y, m, d
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}

// appendDay writes "2026-11-05"; era is " BC" for years before 1.
func appendDay(dst []byte, day int64) (out []byte, era string) {
	y, m, d := civil(day)
	if y <= 0 {
		y, era = 1-y, " BC"
	}
	dst = appendPadded(dst, uint64(y), 4)
	dst = appendPadded(append(dst, '-'), uint64(m), 2)
	return appendPadded(append(dst, '-'), uint64(d), 2), era
}

func appendDate(dst, v []byte) []byte {
	d := int32(binary.BigEndian.Uint32(v))
	switch d {
	case math.MaxInt32:
		return append(dst, "infinity"...)
	case math.MinInt32:
		return append(dst, "-infinity"...)
	}
	dst, era := appendDay(dst, int64(d)+epochDays)
	return append(dst, era...)
}

func appendTimestamp(dst, v []byte, zone string) []byte {
	t := int64(binary.BigEndian.Uint64(v))
	switch t {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case math.MinInt64:
		return append(dst, "-infinity"...)
	}
	day := floorDiv(t, microsPerDay)
	dst, era := appendDay(dst, day+epochDays)
	dst = appendClock(append(dst, ' '), t-day*microsPerDay)
	return append(append(dst, zone...), era...)
}

// appendClock writes microseconds since midnight as "07:08:09.5".
func appendClock(dst []byte, t int64) []byte {
	dst = appendPadded(dst, uint64(t/microsPerHour), 2)
	dst = appendPadded(append(dst, ':'), uint64(t/(60*microsPerSecond)%60), 2)
	dst = appendPadded(append(dst, ':'), uint64(t/microsPerSecond%60), 2)
	if f := uint64(t % microsPerSecond); f > 0 {
		dst = appendPadded(append(dst, '.'), f, 6)
		dst = bytes.TrimRight(dst, "0")
	}
	return dst
}

// appendTimeTZ writes "07:08:09+05:30".
func appendTimeTZ(dst, v []byte) []byte {
	dst = appendClock(dst, int64(binary.BigEndian.Uint64(v)))
	west := int64(int32(binary.BigEndian.Uint32(v[8:])))
	if west <= 0 {
		dst, west = append(dst, '+'), -west
	} else {
		dst = append(dst, '-')
	}
	dst = appendPadded(dst, uint64(west/3600), 2)
	if west%3600 != 0 {
		dst = appendPadded(append(dst, ':'), uint64(west/60%60), 2)
	}
	if west%60 != 0 {
		dst = appendPadded(append(dst, ':'), uint64(west%60), 2)
	}
	return dst
}

// appendInterval writes an interval in IntervalStyle postgres: "1 year 2 mons -3 days +04:05:06".
func appendInterval(dst, v []byte) []byte {
	t := int64(binary.BigEndian.Uint64(v))
	days, months := int64(int32(binary.BigEndian.Uint32(v[8:]))), int64(int32(binary.BigEndian.Uint32(v[12:])))
	switch {
	case t == math.MaxInt64 && days == math.MaxInt32 && months == math.MaxInt32: // version 17 on
		return append(dst, "infinity"...)
	case t == math.MinInt64 && days == math.MinInt32 && months == math.MinInt32:
		return append(dst, "-infinity"...)
	}
	start := len(dst)
	negative := false // the part before was
	for _, p := range [...]struct {
		n    int64
		unit string
	}{{months / 12, " year"}, {months % 12, " mon"}, {days, " day"}} {
		if p.n == 0 {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if negative && p.n > 0 {
			dst = append(dst, '+')
		}
		dst = append(strconv.AppendInt(dst, p.n, 10), p.unit...)
		if p.n != 1 {
			dst = append(dst, 's')
		}
		negative = p.n < 0
	}
	if t == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	switch {
	case t < 0:
		dst = append(dst, '-')
	case negative:
		dst = append(dst, '+')
	}
	if t < 0 {
		t = -t // math.MinInt64 stays, PostgreSQL allows no such time
	}
	return appendClock(dst, t)
}
