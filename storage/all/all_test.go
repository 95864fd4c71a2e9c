package all_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/storage/all"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for at, want := range map[string]string{
		dir:                               "file://" + dir,
		"file://" + dir:                   "file://" + dir,
		"file://localhost" + dir:          "file://" + dir,
		"file://" + dir + "/a%20b":        "file://" + dir + "/a b",
		filepath.Join(dir, "a", "..")[1:]: "", // relative
	} {
		s, err := all.Open(t.Context(), at)
		if err != nil {
			t.Errorf("open %s: %v", at, err)
		} else if want != "" && s.String() != want {
			t.Errorf("open %s: %s, want %s", at, s, want)
		}
	}
}

func TestOpenBucket(t *testing.T) {
	for at, want := range map[string]string{
		"s3://bucket/lake?region=eu-west-1":                "s3://bucket/lake",
		"s3a://bucket/?region=x&endpoint=http://127.0.0.1": "s3://bucket",
	} {
		s, err := all.Open(t.Context(), at)
		if err != nil || s.String() != want {
			t.Errorf("open %s: %v, %v; want %s", at, s, err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for at, says := range map[string]string{
		"":                             "no URL",
		"file://":                      "want file:///path",
		"file://data/lake":             "want file:///path",
		"file://user:hunter2@host/x":   "want file:///path",
		"s3://key:hunter2@bucket/lake": "has credentials in it",
		"gs://hunter2@bucket/lake":     "no store for gs://",
		"file:///a%zz":                 "want file:///path",
	} {
		_, err := all.Open(t.Context(), at)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("open %q: %v", at, err)
		}
		if err := all.Check(at); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("check %q: %v", at, err)
		}
	}
	if err := all.Check(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("check a folder: %v", err)
	}
}
