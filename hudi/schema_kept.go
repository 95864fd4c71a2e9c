package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"

	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// The archived timeline is bounded, and base files of cold partitions are not written anew:
// they may have columns of which no commit tells any more. So what the archive's oldest
// files say of columns is kept before they are deleted. To ask the data files themselves
// would be one request for each.

// columnsFile is where that is.
var columnsFile = path.Join(metaFolder, ".lakefeed", "columns.json")

type columnsRecord struct {
	// Columns that the table once had, by their paths in lower case, and the newest instant
	// whose schema had them; those of whole numbers once more, with ":number" behind their
	// paths. Those that it has now need not be there.
	Columns map[string]string `json:"columns"`
}

// keptColumns are those of columnsFile, and its version, "" where it is not there.
func (t *Table) keptColumns(ctx context.Context) (map[string]string, storage.Version, error) {
	data, v, err := t.store.Get(ctx, columnsFile)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", columnsFile, err)
	}
	var r columnsRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, "", &CorruptError{columnsFile, fmt.Errorf("%w; delete it if no column was ever dropped", offset.OfJSON(err))}
	}
	return r.Columns, v, nil
}

// keepColumns keeps what files of the archive say of columns, and returns which of these
// files may be deleted: not those that cannot be read.
func (t *Table) keepColumns(ctx context.Context, files []string) (done []string, err error) {
	u := newUsedColumns()
	r := &archiveReader{store: t.store, seen: map[timeline.Instant]bool{}, yield: func(i ArchivedInstant) error { return u.look(i.Instant, i.Commit) }}
	for _, name := range files {
		err := r.readLog(ctx, name)
		switch {
		case err == nil:
			done = append(done, name)
		case errors.As(err, new(*CorruptError)):
			t.opts.Logger.Warn("a file of the archived timeline stays, as it cannot be read", "table", t.name, "error", err)
		default:
			return nil, err
		}
	}
	kept, v, err := t.keptColumns(ctx)
	if err != nil {
		return nil, err
	}
	now := namesOf(t.schema) // newer commits tell of these
	next := u.names(kept)
	maps.DeleteFunc(next, func(name, _ string) bool { return now[name] })
	if maps.Equal(next, kept) {
		return done, nil
	}
	return done, t.putColumns(ctx, next, v)
}

func (t *Table) putColumns(ctx context.Context, columns map[string]string, v storage.Version) error {
	data, err := json.Marshal(columnsRecord{columns})
	if err != nil {
		return fmt.Errorf("encode %s: %w", columnsFile, err)
	}
	if v == "" {
		err = t.store.PutIfAbsent(ctx, columnsFile, data)
	} else {
		_, err = t.store.PutIfMatch(ctx, columnsFile, data, v)
	}
	if err != nil { // another one at work on it comes first, and this is done at the next archiving
		return fmt.Errorf("write %s: %w", columnsFile, err)
	}
	return nil
}
