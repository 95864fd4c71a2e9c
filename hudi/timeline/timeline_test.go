package timeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func names(instants []Instant) []string {
	var out []string
	for _, i := range instants {
		out = append(out, i.String())
	}
	return out
}

func check(t *testing.T, what string, got []Instant, want ...string) {
	t.Helper()
	if got := names(got); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

var allKinds = []string{
	"hoodie.properties", ".10.commit.crc", "archived",
	"10.deltacommit.requested", "10.deltacommit.inflight", "10.deltacommit",
	"20.compaction.requested", "20.compaction.inflight", "20.commit",
	"30.commit.requested", "30.inflight", "30.commit",
	"30.savepoint.inflight", "30.savepoint",
	"40.replacecommit",
	"50.clean.requested", "50.clean.inflight", "50.clean",
	"60.compaction.requested",
	"70.logcompaction.requested", "70.deltacommit",
	"80.rollback.requested", "80.rollback.inflight",
	"90.commit.requested", "90.inflight",
	"91.compaction.inflight", "91.compaction.requested",
}

func TestTimelineResolvesStates(t *testing.T) {
	tl := New(allKinds)
	check(t, "instants", tl.Instants(),
		"10 deltacommit COMPLETED", "20 compaction COMPLETED", "30 commit COMPLETED",
		"30 savepoint COMPLETED", "40 replacecommit COMPLETED", "50 clean COMPLETED",
		"60 compaction REQUESTED", "70 logcompaction COMPLETED", "80 rollback INFLIGHT",
		"90 commit INFLIGHT", "91 compaction INFLIGHT")
	check(t, "completed", tl.Completed(),
		"10 deltacommit COMPLETED", "20 compaction COMPLETED", "30 commit COMPLETED",
		"40 replacecommit COMPLETED", "70 logcompaction COMPLETED")
	check(t, "pending", tl.Pending(),
		"60 compaction REQUESTED", "80 rollback INFLIGHT", "90 commit INFLIGHT",
		"91 compaction INFLIGHT")
	check(t, "pending compactions", tl.PendingCompactions(),
		"60 compaction REQUESTED", "91 compaction INFLIGHT")
	check(t, "states", tl.States("20"),
		"20 commit COMPLETED", "20 compaction REQUESTED", "20 compaction INFLIGHT")
	if last, ok := tl.Last(); !ok || last.Time != "70" {
		t.Errorf("last: %v, %v", last, ok)
	}
	for time, want := range map[string][2]bool{ // has, completed
		"10": {true, true}, "20": {true, true}, "50": {true, false}, "60": {true, false},
		"80": {true, false}, "90": {true, false}, "05": {false, false}, "15": {false, false},
	} {
		if got := [2]bool{tl.Has(time), tl.IsCompleted(time)}; got != want {
			t.Errorf("%s: has and is completed %v, want %v", time, got, want)
		}
	}
	for _, file := range tl.States("30") {
		if !slices.Contains(allKinds, file.FileName()) {
			t.Errorf("states of 30 have %q, which was not given", file.FileName())
		}
	}
}

func TestTimelineStart(t *testing.T) {
	for _, c := range []struct {
		names  []string
		before string
		want   bool
	}{
		{nil, "10", false},
		{[]string{"20.commit"}, "10", true},
		{[]string{"20.commit"}, "20", false},
		{[]string{"20.inflight", "30.commit"}, "20", false},
		{[]string{"05.clean", "06.rollback", "20.commit"}, "10", true},   // archived apart
		{[]string{"05.commit", "05.savepoint", "20.commit"}, "10", true}, // left by archiving
		{[]string{"05.commit", "05.savepoint"}, "10", false},
		{[]string{"05.clean"}, "01", false},
	} {
		if got := New(c.names).BeforeStart(c.before); got != c.want {
			t.Errorf("%q: %s before start: %v", c.names, c.before, got)
		}
	}
}

func TestTimelineDoesNotChange(t *testing.T) {
	one := New([]string{"10.commit.requested", "10.inflight"})
	two := one.With("10.commit", "hoodie.properties")
	three := two.Without("10.commit.requested", "10.inflight", "77.commit")
	check(t, "first", one.Instants(), "10 commit INFLIGHT")
	check(t, "with", two.Instants(), "10 commit COMPLETED")
	check(t, "without", three.States("10"), "10 commit COMPLETED")
	check(t, "none", three.Without("10.commit").Instants())
	three.Instants()[0].Time = "99"
	check(t, "changed copy", three.Instants(), "10 commit COMPLETED")
	var zero Timeline
	if _, ok := zero.Last(); ok || zero.Has("10") || zero.IsCompleted("10") || zero.BeforeStart("10") {
		t.Error("the zero timeline is not empty")
	}
}

// TestTimelinesShareLists grows many timelines out of each other: each is what its names
// make, whatever grew out of it or beside it.
func TestTimelinesShareLists(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	type grown struct {
		tl    *Timeline
		names []string
	}
	all := []grown{{New(nil), nil}}
	for range 2000 {
		from := all[max(0, len(all)-1-rnd.IntN(3))]
		at := fmt.Sprintf("%04d", len(from.names)+rnd.IntN(4))
		added := [][]string{
			{at + ".commit.requested", at + ".inflight", at + ".commit"},
			{at + ".deltacommit.requested"},
			{at + ".savepoint.inflight", at + ".savepoint"},
			{at + ".clean.requested", at + ".clean.inflight", at + ".clean", "hoodie.properties"},
			{at + ".compaction.requested", at + ".compaction.inflight", at + ".commit"},
		}[rnd.IntN(5)]
		all = append(all, grown{from.tl.With(added...), slices.Concat(from.names, added)})
		if len(from.names) > 60 {
			all = append(all, grown{New(nil), nil})
		}
	}
	for _, g := range all {
		want := New(g.names)
		check(t, "instants", g.tl.Instants(), names(want.Instants())...)
		check(t, "pending", g.tl.Pending(), names(want.Pending())...)
		if g.tl.Start() != want.Start() || !slices.Equal(g.tl.Savepoints(), want.Savepoints()) || g.tl.Next(time.Time{}) != want.Next(time.Time{}) {
			t.Fatalf("%q: start, savepoints or next are not those of its names", g.names)
		}
		for _, i := range want.Instants() {
			check(t, "states", g.tl.States(i.Time), names(want.States(i.Time))...)
		}
	}
}

func TestTimelineLayout2(t *testing.T) {
	files := []string{
		"history", "_version_", "10.deltacommit.requested", "10.deltacommit.inflight", "10_40.deltacommit",
		"20.commit.requested", "20.inflight", "20_30.commit", "35.clustering.requested", "35.clustering.inflight", "35_50.replacecommit",
		"51.compaction.requested", "51.compaction.inflight", "51_52.commit", "52.clean.requested", "52.clean.inflight", "52_53.clean",
		"55.clustering.requested", "20_60.savepoint",
	}
	tl := NewLayout(Layout2, files)
	check(t, "instants", tl.Instants(),
		"10 deltacommit COMPLETED", "20 commit COMPLETED", "20 savepoint COMPLETED", "35 clustering COMPLETED",
		"51 compaction COMPLETED", "52 clean COMPLETED", "55 clustering REQUESTED")
	check(t, "by completion", tl.ByCompletion(),
		"20 commit COMPLETED", "10 deltacommit COMPLETED", "35 clustering COMPLETED", "51 compaction COMPLETED")
	check(t, "pending replaces", tl.PendingReplaces(), "55 clustering REQUESTED")
	for at, want := range map[string]string{"10": "40", "20": "30", "35": "50", "51": "52", "55": "", "52": "", "11": ""} {
		if got, ok := tl.CompletionOf(at); got != want || ok != (want != "") {
			t.Errorf("%s completed at %q, %v, want %q", at, got, ok, want)
		}
	}
	for _, i := range tl.Instants() {
		if i.State == Completed && !slices.Contains(files, i.FileName()) {
			t.Errorf("%v has the name %q", i, i.FileName())
		}
		if want := i.Action == Clustering; i.Replaces() != want {
			t.Errorf("%v replaces: %v", i, i.Replaces())
		}
	}
	if next := tl.Next(time.Time{}); next <= "60" {
		t.Errorf("next is %q, but something was completed at 60", next)
	}
	if got := tl.With("56_57.rollback").Without("20_60.savepoint"); got.Layout() != Layout2 || !got.Has("56") || len(got.States("20")) != 3 {
		t.Errorf("layout %d, states of 20: %v", got.Layout(), got.States("20"))
	}
	one := New(files)
	check(t, "completed in layout 1", one.Completed())
	check(t, "pending in layout 1", one.Pending(), "10 deltacommit INFLIGHT", "20 commit INFLIGHT", "51 compaction INFLIGHT", "52 clean INFLIGHT")
	if one.Layout() != Layout1 || new(Timeline).Layout() != Layout1 {
		t.Error("the layout is not 1")
	}
}

func TestTimelineOfThePast(t *testing.T) {
	tl := NewLayout(Layout2, []string{"10_40.deltacommit", "20_30.commit", "35_50.replacecommit", "41_42.clean", "60.inflight"})
	for _, c := range []struct {
		past *Timeline
		want []string
	}{
		{tl.AsOf("09"), nil},
		{tl.AsOf("10"), []string{"10 deltacommit COMPLETED"}},
		{tl.AsOf("34"), []string{"10 deltacommit COMPLETED", "20 commit COMPLETED"}},
		{tl.CompletedBy("29", nil), nil},
		{tl.CompletedBy("30", nil), []string{"20 commit COMPLETED"}},
		{tl.CompletedBy("49", nil), []string{"10 deltacommit COMPLETED", "20 commit COMPLETED"}},
		{tl.CompletedBy("50", nil), names(tl.Completed())},
		{tl.Between("30", "", nil), []string{"10 deltacommit COMPLETED", "35 replacecommit COMPLETED"}},
		{tl.Between("30", "49", nil), []string{"10 deltacommit COMPLETED"}},
	} {
		check(t, "completed", c.past.Completed(), c.want...)
		for _, i := range tl.Completed() {
			_, done := c.past.CompletionOf(i.Time)
			if want := slices.Contains(c.want, i.String()); done != want || c.past.IsCompleted(i.Time) != want || !c.past.Has(i.Time) {
				t.Errorf("of %q: %v is completed: %v", c.want, i, done)
			}
		}
		if c.past.BeforeStart("10") || len(c.past.Instants()) != len(tl.Instants()) {
			t.Errorf("of %q: starts elsewhere", c.want)
		}
	}
	for _, past := range []*Timeline{tl.AsOf("08"), tl.CompletedBy("08", nil), tl.Between("09", "", nil)} {
		if past.BeforeStart("09") {
			t.Error("what was archived of later times, or of earlier ones, counts")
		}
	}
	if old := tl.CompletedBy("30", map[string]string{"08": "31"}); old.BeforeStart("08") || !old.BeforeStart("09") {
		t.Error("archived writes count by their own times")
	}
	check(t, "whole", tl.AsOf("").With("70_71.commit").Completed(),
		"10 deltacommit COMPLETED", "20 commit COMPLETED", "35 replacecommit COMPLETED", "70 commit COMPLETED")
}
