package hudi

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/timeline"
)

// TestReusedNameOfTrimmedArchive drops a column, and lets the archived timeline be deleted that
// tells of it: files still have its values, until the table is written anew.
func TestReusedNameOfTrimmedArchive(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		a, b := nullable("a", testText), nullable("b", arrow.StructOf(nullable("x", testInt)))
		e := newEvolving(t, typ, a, b)
		e.put(`{"id":"1","a":"x","b":{"x":1}}`)
		e.must(e.take(a))
		e.forget(3)
		for i, err := range e.table.Archived(t.Context(), "", "") {
			if e.must(err); strings.Contains(i.Commit.ExtraMetadata[timeline.SchemaKey], `"b"`) {
				t.Errorf("%v is still archived", i.Instant)
			}
		}
		e.refused(e.take(a, b), "b", "come back")
		e.forget(2) // and again, with what was kept
		e.refused(e.take(a, b), "b", "come back")
		if kept, _, err := e.table.keptColumns(t.Context()); err != nil || kept["b.x"] == "" || kept["a"] != "" {
			t.Errorf("kept %v, %v", kept, err)
		}

		_, err := e.table.Rewrite(t.Context(), nil, nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) { return rows, nil })
		e.must(err)
		for range 4 { // what was replaced, and then what a cleaning kept, holds the archiving
			e.put(`{"id":"1","a":"z"}`)
			_, err := e.table.Compact(t.Context(), CompactOptions{})
			e.must(err)
			_, err = e.table.Clean(t.Context(), CleanOptions{RetainVersions: 1})
			e.must(err)
			e.forget(1)
		}
		if kept, _, err := e.table.keptColumns(t.Context()); err != nil || len(kept) > 0 {
			t.Errorf("kept %v, %v", kept, err)
		}
		e.must(e.take(a, b))
		e.put(`{"id":"2","a":"y","b":{"x":2}}`)
		e.want(ReadOptions{}, `{"a":"y","b":{"x":2},"id":"2"}`, `{"a":"z","b":null,"id":"1"}`)
	})
}

// forget commits and archives some times, with an archive that is bounded to nothing.
func (e *evolving) forget(times int) {
	e.t.Helper()
	for range times {
		for range 3 {
			x, err := e.table.Begin(e.t.Context(), TxnOptions{})
			e.must(err)
			_, err = x.Commit(e.t.Context(), map[string]string{"long": strings.Repeat("x", archiveShortBytes)})
			e.must(err)
		}
		_, err := e.table.Archive(e.t.Context(), ArchiveOptions{KeepMin: 1, KeepMax: 1, MaxArchiveBytes: 1})
		e.must(err)
	}
}

// TestTrimDamagedArchive keeps files of the archive that cannot be read: what they say of columns
// would be lost.
func TestTrimDamagedArchive(t *testing.T) {
	t.Parallel()
	a, b := nullable("a", testText), nullable("b", testInt)
	e := newEvolving(t, CopyOnWrite, a, b)
	e.put(`{"id":"1","a":"x","b":1}`)
	e.must(e.take(a))
	for range 3 {
		e.put(`{"id":"2","a":"y"}`)
	}
	_, err := e.table.Archive(t.Context(), ArchiveOptions{KeepMin: 1, KeepMax: 1})
	e.must(err)
	logs, err := e.table.archiveReader().logs(t.Context())
	e.must(err)
	name := path.Join(e.table.props.archiveFolder(), logs[0].name)
	data, _, err := e.table.store.Get(t.Context(), name)
	e.must(err)
	e.must(e.table.store.Put(t.Context(), name, data[:len(data)-7]))
	e.must(e.table.trimArchive(t.Context(), logs, 0))
	if found, err := exists(t.Context(), e.table.store, name); err != nil || !found {
		t.Errorf("the file is gone, %v", err)
	}
	e.must(e.table.store.Put(t.Context(), name, data))
	e.must(e.table.trimArchive(t.Context(), logs, 0))
	if found, err := exists(t.Context(), e.table.store, name); err != nil || found {
		t.Errorf("the file is there, %v", err)
	}
	e.refused(e.take(a, b), "b", "come back")

	e.must(e.table.store.Put(t.Context(), columnsFile, []byte("{")))
	if err := e.take(a, b); !errors.As(err, new(*CorruptError)) {
		t.Errorf("of a damaged %s: %v", columnsFile, err)
	}
}
