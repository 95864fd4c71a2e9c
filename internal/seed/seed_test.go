package seed_test

import (
	"testing"

	"lakefeed/internal/seed"
)

func TestNew(t *testing.T) {
	t.Setenv("LAKEFEED_SOAK", "")
	t.Setenv(seed.Variable, "")
	fixed := seed.New(t)
	if seed.New(t) != fixed || seed.Or(t, 3) != 3 {
		t.Error("the seed is not fixed")
	}
	t.Run("other", func(t *testing.T) {
		if seed.New(t) == fixed {
			t.Error("two tests have one seed")
		}
	})
	for variable, value := range map[string]string{seed.Variable: "random", "LAKEFEED_SOAK": "1"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			if a, b := seed.New(t), seed.New(t); a == b {
				t.Errorf("twice the seed %d", a)
			}
		})
	}
	t.Setenv("LAKEFEED_SOAK", "1")
	t.Setenv(seed.Variable, "18446744073709551615")
	if s := seed.New(t); s != 1<<64-1 {
		t.Errorf("seed %d", s)
	}
}
