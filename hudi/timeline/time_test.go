package timeline

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 35, 3, 716_999_999, time.UTC)
	zone := time.FixedZone("east", 7200)
	if got := FormatTime(at.In(zone)); got != testTime {
		t.Errorf("format: %q, want %q", got, testTime)
	}
	for in, millis := range map[string]int{
		testTime:               716,
		"20261122013503":       999,
		"20261122013503000":    0,
		"20261122013503716001": 716,
	} {
		want := at.Truncate(time.Second).Add(time.Duration(millis) * time.Millisecond)
		if got, err := ParseTime(in); err != nil || !got.Equal(want) {
			t.Errorf("parse %q: %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "2026", "202611220135037", "00000000000000010", "20261122013503.71", "20261322013503716"} {
		if got, err := ParseTime(in); err == nil {
			t.Errorf("parse %q: %v, want an error", in, got)
		}
	}
}

func TestParseInstant(t *testing.T) {
	for in, want := range map[string]string{
		testTime:                        testTime,
		"20261122013503":                "20261122013503",
		"2026-11-22":                    "20261122000000000",
		"2026-11-22 01:35":              "20261122013500000",
		"2026-11-22 01:35:03.716":       testTime,
		"2026-11-22T03:35:03.716+02:00": testTime,
		"2026-11-22T01:35:03Z":          "20261122013503000",
	} {
		if got, err := ParseInstant(in); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "now", "latest", "000", "2026", "20261122", " " + testTime, testTime + "x", "2026-13-01"} {
		if got, err := ParseInstant(in); err == nil {
			t.Errorf("%q: %q, want an error", in, got)
		}
	}
}

func TestNextIsGreater(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 35, 3, 716_000_000, time.UTC)
	for _, c := range []struct{ last, want string }{
		{"", testTime},
		{"20261122013503715", testTime},
		{testTime, "20261122013503717"},
		{"20261122013503716001", "20261122013503717"},
		{"20261122013503", testTime},
		{"20271231235959999", "20280101000000000"},
		{"20271231235959", "20280101000000000"},
		{"99991231235959999", "999912312359599990"},
		{"99999999999999999", "999999999999999990"},
		{"00000000000000010", testTime},
	} {
		var tl Timeline
		next := tl.With(c.last + ".rollback.requested").Next(now)
		if next != c.want || next <= c.last {
			t.Errorf("after %q: %q, want %q", c.last, next, c.want)
		}
	}
}
