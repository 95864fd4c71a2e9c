package config_test

import (
	"strings"
	"testing"

	"lakefeed/config"
)

// TestSignalTable: the signal table is no table of the pipeline, unless it is named.
func TestSignalTable(t *testing.T) {
	t.Parallel()
	with := func(signals, match string) string {
		return strings.NewReplacer("url: postgres", signals+"\n        url: postgres", "public.*", match).Replace(tenLines)
	}
	p := parse(t, with("signal_table: public.signals", "public.*")).Pipelines[0]
	if p.Match("public", "signals") || !p.Match("public", "orders") || p.Source(nil).SignalTable != [2]string{"public", "signals"} {
		t.Errorf("it is taken: %+v", p.Postgres)
	}
	p = parse(t, with(`signal_table: '"My.schema".sig"n""als"'`, `'"My.schema"."sign""als"'`)).Pipelines[0]
	if name := [2]string{"My.schema", `sign"als`}; p.Postgres.SignalTable != name || !p.Match(name[0], name[1]) {
		t.Errorf("it is not taken: %q", p.Postgres.SignalTable)
	}
	for _, text := range []string{with("signal_table: signals", "public.*"), with("signal_table: public.*", "public.*"), with("signal_table: a.b.c", "public.*")} {
		if _, err := config.Parse("f.yaml", []byte(text), noEnv); err == nil || !strings.Contains(err.Error(), "source.postgres.signal_table: want one table") {
			t.Errorf("got %v", err)
		}
	}
	text := strings.Replace(with("signal_table: public.signals", "public.*"), "    commit_interval", "    slots: 2\n    commit_interval", 1)
	if _, err := config.Parse("f.yaml", []byte(text), noEnv); err == nil || !strings.Contains(err.Error(), "signal_table does not go with several slots") {
		t.Errorf("got %v", err)
	}
}
