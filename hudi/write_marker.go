package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"lakefeed/storage"
)

// markerKind says what a marker's file is to its file group.
type markerKind string

const (
	markerCreate markerKind = "CREATE" // the first base file
	markerMerge  markerKind = "MERGE"  // a later base file
	markerAppend markerKind = "APPEND" // a log file
)

const markerInfix = ".marker."

func markerFolder(instant string) string { return path.Join(tempFolder, instant) }

// createMarker announces a data file of an instant, so that a rollback finds it
// whether or not it was finished.
func (t *Table) createMarker(ctx context.Context, instant, file string, kind markerKind) error {
	t.opts.Hook("marker")
	name := path.Join(markerFolder(instant), file+markerInfix+string(kind))
	if err := t.store.Put(ctx, name, nil); err != nil {
		return fmt.Errorf("create marker of %s: %w", file, err)
	}
	return nil
}

// markedFiles are the paths of the data files that an instant announced, in order:
// by markers of their own, or in the lists that Spark's timeline server keeps.
func (t *Table) markedFiles(ctx context.Context, instant string) ([]string, error) {
	found := map[string]bool{}
	folder := markerFolder(instant)
	for info, err := range t.store.List(ctx, folder, true) {
		if err != nil {
			return nil, fmt.Errorf("list markers of %s: %w", instant, err)
		}
		name := strings.TrimPrefix(info.Name, folder+"/")
		if file, _, ok := strings.Cut(name, markerInfix); ok {
			found[file] = true
			continue
		}
		if !strings.HasPrefix(name, "MARKERS") || name == "MARKERS.type" {
			continue
		}
		text, _, err := t.store.Get(ctx, info.Name)
		if errors.Is(err, storage.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read markers of %s: %w", instant, err)
		}
		for line := range strings.Lines(string(text)) {
			if file, _, ok := strings.Cut(strings.TrimSpace(line), markerInfix); ok {
				found[file] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// deleteMarkers is the last step of a transaction.
func (t *Table) deleteMarkers(ctx context.Context, instant string) error {
	if err := t.store.DeleteAll(ctx, markerFolder(instant)); err != nil {
		return fmt.Errorf("delete markers of %s: %w", instant, err)
	}
	return nil
}

// createData creates the marker of a data file, and the file.
func (t *Table) createData(ctx context.Context, instant string, f *DataFile, kind markerKind) (*newFile, error) {
	if err := t.createMarker(ctx, instant, f.Path(), kind); err != nil {
		return nil, err
	}
	if err := t.markPartition(ctx, f.Partition, instant); err != nil {
		return nil, err
	}
	t.opts.Hook("data file")
	return t.createFile(ctx, f.Path())
}
