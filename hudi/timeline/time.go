package timeline

import (
	"fmt"
	"time"
)

const (
	secondsLayout = "20060102150405"
	secondsDigits = len(secondsLayout)
	millisDigits  = secondsDigits + 3
)

// FormatTime is t as an instant's time: UTC, 17 digits, to the millisecond.
func FormatTime(t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf("%s%03d", t.Format(secondsLayout), t.Nanosecond()/1e6)
}

// ParseTime reads an instant's time as UTC. Old writers wrote 14 digits, which mean the
// end of their second; what follows 17 digits is a counter of the writer, and ignored.
func ParseTime(s string) (time.Time, error) {
	if !digits(s) || len(s) != secondsDigits && len(s) < millisDigits {
		return time.Time{}, fmt.Errorf("parse instant time %q: want 14, 17 or more digits", s)
	}
	t, err := time.Parse(secondsLayout, s[:secondsDigits])
	if err != nil {
		return time.Time{}, fmt.Errorf("parse instant time %q: %w", s, err)
	}
	millis := 999
	if len(s) >= millisDigits {
		m := s[secondsDigits:millisDigits]
		millis = int(m[0]-'0')*100 + int(m[1]-'0')*10 + int(m[2]-'0')
	}
	return t.Add(time.Duration(millis) * time.Millisecond), nil
}

// ParseInstant reads a point of a timeline as people give it: an instant, in 14, 17 or
// more digits, which stays as it is, or a time, as 2026-01-31T12:00:00Z. Without a zone
// it is UTC; seconds, or the time of day, may be left out, and T may be a blank.
func ParseInstant(s string) (string, error) {
	if digits(s) && (len(s) == secondsDigits || len(s) >= millisDigits) {
		return s, nil
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
		"2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly,
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return FormatTime(t), nil
		}
	}
	return "", fmt.Errorf("%q is neither an instant (20260131120000000) nor a time (2026-01-31T12:00:00Z)", s)
}

// after is the first time that is greater than s, as times compare.
func after(s string) string {
	if t, err := ParseTime(s); err == nil {
		if next := FormatTime(t.Add(time.Millisecond)); next > s {
			return next
		}
	}
	return s + "0"
}
