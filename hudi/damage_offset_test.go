package hudi

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// smallDamage is damage to one of a table's small files, with the offset that the error of
// what reads it tells.
type smallDamage struct {
	file   func(t *testing.T, table *Table) string
	change func(data []byte) (damaged []byte, at int64)
	use    func(ctx context.Context, table *Table) error // nil: it is opened
}

// cutOff ends a file right behind a text.
func cutOff(behind string) func([]byte) ([]byte, int64) {
	return func(data []byte) ([]byte, int64) {
		end := bytes.Index(data, []byte(behind)) + len(behind)
		return data[:end], int64(end)
	}
}

// overlay lays other bytes over those right behind a text; the damage shows so many bytes on.
func overlay(behind, over string, shows int) func([]byte) ([]byte, int64) {
	return func(data []byte) ([]byte, int64) {
		end := bytes.Index(data, []byte(behind)) + len(behind)
		copy(data[end:], over)
		return data, int64(end + shows)
	}
}

// cutRecord ends an Avro container within its record, which begins behind the mark that ends
// the header, and the file.
func cutRecord(data []byte) ([]byte, int64) {
	mark := data[len(data)-16:]
	end := bytes.Index(data, mark) + len(mark)
	return data[:end+4], int64(end)
}

func theFile(name string) func(*testing.T, *Table) string {
	return func(*testing.T, *Table) string { return name }
}

// newestFile is a file of the newest instant of an action.
func newestFile(action timeline.Action, state timeline.State) func(*testing.T, *Table) string {
	return func(t *testing.T, table *Table) string {
		t.Helper()
		for _, i := range newestFirst(table.Timeline().Instants()) {
			if i.Action == action {
				i.State = state
				return table.instantFile(i)
			}
		}
		t.Fatalf("no %s", action)
		return ""
	}
}

// history writes what Hudi's evolution of schemas would.
func history(t *testing.T, table *Table) string {
	t.Helper()
	last, _ := table.Timeline().Last()
	name := schemaFolder + "/" + last.Time + schemaSuffix
	if err := table.store.Put(t.Context(), name, []byte(`{"schemas":[]}`)); err != nil {
		t.Fatal(err)
	}
	return name
}

func pinned(t *testing.T, table *Table) string {
	t.Helper()
	p, err := table.Pin(t.Context(), "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return pinFile(p.Info().ID)
}

func readSchemas(ctx context.Context, table *Table) error {
	_, err := table.readHistory(ctx, table.Timeline(), "")
	return err
}

func readPins(ctx context.Context, table *Table) error {
	_, err := table.Pins(ctx)
	return err
}

func readClaims(ctx context.Context, table *Table) error { return table.Recover(ctx) }

func readCleanings(ctx context.Context, table *Table) error {
	_, err := table.cleaned(ctx, table.Timeline(), &DataFile{})
	return err
}

// TestDamageOffset damages small files of a table, and asks for the place in the error.
func TestDamageOffset(t *testing.T) {
	t.Parallel()
	commit, plan := newestFile(timeline.DeltaCommit, timeline.Completed), newestFile(timeline.Clean, timeline.Requested)
	for name, d := range map[string]smallDamage{
		"a commit that ends":              {commit, cutOff(`"partitionToWriteStats"`), nil},
		"a commit that is no JSON":        {commit, overlay(`"partitionToWriteStats"`, "?", 1), nil},
		"a commit with text for a number": {commit, overlay(`"numWrites":`, `""`, 2), nil},
		"properties with a bad escape":    {theFile(propertiesFile), overlay("hoodie.table.name=", `\u?`, -len("hoodie.table.name=")), nil},
		"a plan without its magic":        {plan, overlay("", "?", 4), readCleanings},
		"a plan that ends in its header":  {plan, cutOff("avro.schema"), readCleanings},
		"a plan that ends in its record":  {plan, cutRecord, readCleanings},
		"a history of schemas":            {history, overlay("[", "?", 1), readSchemas},
		"a claim":                         {theFile(claimFile), overlay("{", "?", 1), readClaims},
		"a pin":                           {pinned, overlay("{", "?", 1), readPins},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, table := damaged(t, MergeOnRead)
			if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := table.Clean(t.Context(), CleanOptions{RetainVersions: 1}); err != nil {
				t.Fatal(err)
			}
			mustUpsert(t, table, map[string]modelRow{"a": {seq: 9}})
			file, at := d.file(t, table), int64(0)
			damage(t, store, file, func(data []byte) (is []byte) {
				is, at = d.change(data)
				return is
			})
			checkPlace(t, store, d, file, at)
		})
	}
}

func checkPlace(t *testing.T, store storage.Store, d smallDamage, file string, at int64) {
	t.Helper()
	table, err := Open(t.Context(), store, Options{})
	if err == nil && d.use != nil {
		err = d.use(t.Context(), table)
	}
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != file || corrupt.Offset() != at {
		data, _, _ := store.Get(t.Context(), file)
		t.Fatalf("got %v, want offset %d of %s: %.200q", err, at, file, data)
	}
}
