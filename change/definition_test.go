package change

import (
	"strings"
	"testing"
)

func TestDefinitionBroken(t *testing.T) {
	t.Parallel()
	had := Definition{LabelPart("1"): "one", LabelPart("3"): "two", TypePart("9"): "a 23 -1"}
	for name, c := range map[string]struct {
		now Definition
		why string
	}{
		"the same":          {had, ""},
		"a new label":       {Definition{LabelPart("1"): "one", LabelPart("2"): "half", LabelPart("3"): "two", TypePart("9"): "a 23 -1"}, ""},
		"an earlier look":   {Definition{LabelPart("1"): "one", TypePart("9"): "a 23 -1"}, ""},
		"a renamed label":   {Definition{LabelPart("1"): "uno", LabelPart("3"): "two", TypePart("9"): "a 23 -1"}, `"one" of its enum type was renamed to "uno"`},
		"another attribute": {Definition{LabelPart("1"): "one", LabelPart("3"): "two", TypePart("9"): "a 23 -1, b 25 -1"}, "composite type was altered"},
		"another composite": {Definition{LabelPart("1"): "one", LabelPart("3"): "two", TypePart("8"): "a 23 -1"}, "composite type was altered"},
		"another enum":      {Definition{LabelPart("5"): "one"}, "another type"},
		"no definition":     {nil, "another type"},
	} {
		if why := had.Broken(c.now); !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: %q, want %q", name, why, c.why)
		}
	}
	if why := Definition(nil).Broken(had); why != "" { // an older checkpoint
		t.Errorf("what was not known is broken: %s", why)
	}
	if got := had.With(Definition{LabelPart("1"): "one", LabelPart("2"): "half"}); len(got) != 4 || len(had) != 3 {
		t.Errorf("with another label: %v of %v", got, had)
	}
}
