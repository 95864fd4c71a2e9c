package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/storage"
)

// keepsCommits is a store that refuses to delete a completed commit: who takes one back in it
// gets no further than to have written that he will.
type keepsCommits struct{ storage.Store }

var errKept = errors.New("commits are kept here")

func (k keepsCommits) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "commit") {
		return errKept
	}
	return k.Store.Delete(ctx, name)
}

// TestRollbackInterruptedLong rolls a table's newest commit back by hand and dies at that: the
// next start ends the rollback, and must not take the table for as far as it was before.
func TestRollbackInterruptedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.drain()
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.drain()
	table, err := hudi.Open(t.Context(), keepsCommits{storage.Sub(r.lake, "public/t")}, hudi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := table.Timeline().Last()
	if _, err := table.Rollback(t.Context(), last.Time); !errors.Is(err, errKept) {
		t.Fatalf("roll back: %v", err)
	}
	r.db.Exec(t, "insert into t values (3, 'c')")
	r.says(r.once(), "public.t", "rolled commits back")
	if have := r.column("t", "id"); have != "1" {
		t.Errorf("rows: %s", have)
	}
}
