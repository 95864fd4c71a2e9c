package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"lakefeed/hudi"
)

// TestTakeOverRefusedRows blames the source for what it has, and the other job's table for what that has.
func TestTakeOverRefusedRows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   error
		wants string
	}{
		{&staleError{why: "key 1 comes twice", once: true}, "mend that in the source"},
		{fmt.Errorf("write: %w", &hudi.RowError{Reason: `row with key "1": text in column v is not UTF-8`}), "adopt --stopped --copy"},
	} {
		if err := new(foreignRows).refused(c.err); err == nil || !strings.Contains(err.Error(), c.wants) {
			t.Errorf("%v: %v, want %s", c.err, err, c.wants)
		}
	}
	other := errors.New("something else")
	if err := new(foreignRows).refused(other); !errors.Is(err, other) || err.Error() != other.Error() {
		t.Errorf("another error became %v", err)
	}
	if err := new(foreignRows).refused(nil); err != nil {
		t.Error(err)
	}
}
