package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/timeline"
)

// The archived timeline of layout 2 is Parquet files, whose valid set a manifest names:
// docs/format/archived-timeline.md.
const (
	historyVersion  = "_version_"
	historyManifest = "manifest_"
)

// historyFile is <first instant>_<last instant>_<level>.parquet.
var historyFile = regexp.MustCompile(`^(\d+)_(\d+)_(\d+)\.parquet$`)

// historySchema is the columns that are read of these files.
var historySchema = arrow.NewSchema([]arrow.Field{
	{Name: "instantTime", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "completionTime", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "action", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "metadata", Type: arrow.BinaryTypes.Binary, Nullable: true},
}, nil)

// historyMetadata is the place of the one column that is large.
const historyMetadata = 3

func (r *archiveReader) readHistory(ctx context.Context) error {
	version, ok, err := r.historyVersion(ctx)
	if err != nil || !ok {
		return err
	}
	names, err := r.manifest(ctx, version)
	if err != nil {
		return err
	}
	for _, name := range names {
		if m := historyFile.FindStringSubmatch(name); m != nil && !r.wants(m[1], m[2]) {
			continue
		}
		err := r.readHistoryFile(ctx, path.Join(r.folder, name))
		if err != nil {
			return err
		}
	}
	return nil
}

// historyVersion is the number of the manifest that counts: what the version file says,
// or where that is lost the greatest. Without either nothing was archived yet.
func (r *archiveReader) historyVersion(ctx context.Context) (version int, ok bool, err error) {
	data, found, err := r.get(ctx, historyVersion)
	if err != nil {
		return 0, false, err
	}
	if version, err = strconv.Atoi(strings.TrimSpace(string(data))); found && err == nil {
		return version, true, nil
	}
	names, err := r.files(ctx, historyManifest)
	if err != nil {
		return 0, false, err
	}
	for _, name := range names {
		if v, err := strconv.Atoi(name[len(historyManifest):]); err == nil && (!ok || v > version) {
			version, ok = v, true
		}
	}
	return version, ok, nil
}

// manifest are the files that make a version of the history.
func (r *archiveReader) manifest(ctx context.Context, version int) ([]string, error) {
	name := historyManifest + strconv.Itoa(version)
	data, found, err := r.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &CorruptError{path.Join(r.folder, name), errors.New("it is missing, and " + historyVersion + " names it")}
	}
	names, err := parseManifest(data)
	if err != nil {
		return nil, &CorruptError{path.Join(r.folder, name), err}
	}
	return names, nil
}

func parseManifest(data []byte) ([]string, error) {
	var m struct {
		Files []struct {
			FileName string `json:"fileName"`
		} `json:"files"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, offset.OfJSON(err)
	}
	var names []string
	for _, f := range m.Files {
		if f.FileName == "" || path.Base(f.FileName) != f.FileName {
			return nil, fmt.Errorf("it has a file named %q", f.FileName)
		}
		names = append(names, f.FileName)
	}
	return names, nil
}

func (r *archiveReader) readHistoryFile(ctx context.Context, name string) error {
	f, err := r.store.Open(ctx, name)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer closeFile(f)
	schema := historySchema
	if r.bare {
		schema = arrow.NewSchema(schema.Fields()[:historyMetadata], nil)
	}
	file := &reading{Reader: f, path: name}
	rows, err := basefile.Open(file, file.Size(), schema)
	if err != nil {
		return file.corrupt(err)
	}
	defer func() { _ = rows.Close() }()
	err = rows.Each(ctx, r.readHistoryBatch)
	if err == nil || errors.Is(err, errEnough) || ctx.Err() != nil {
		return err
	}
	return file.corrupt(err)
}

func (r *archiveReader) readHistoryBatch(batch arrow.RecordBatch) error {
	var texts [3]*array.String
	for i := range texts {
		texts[i] = batch.Column(i).(*array.String) // historySchema says so
	}
	var metadata *array.Binary
	if !r.bare {
		metadata = batch.Column(historyMetadata).(*array.Binary)
	}
	for row := range int(batch.NumRows()) {
		i := timeline.Instant{
			Time: texts[0].Value(row), Completion: texts[1].Value(row),
			Action: timeline.Action(texts[2].Value(row)), State: timeline.Completed,
		}
		if !r.wants(i.Time, i.Time) {
			continue
		}
		var data []byte
		if metadata != nil {
			data = metadata.Value(row)
		}
		a, err := historyInstant(i, data)
		if err != nil {
			return err
		}
		if err := r.pass(a); err != nil {
			return err
		}
	}
	return nil
}

// historyInstant is an instant with what its completed file said.
func historyInstant(i timeline.Instant, data []byte) (ArchivedInstant, error) {
	a := ArchivedInstant{Instant: i}
	if _, ok := timeline.ParseName(i.FileName()); !ok {
		return a, fmt.Errorf("%q of action %q is no instant", i.Time, i.Action)
	}
	var err error
	switch {
	case len(data) == 0:
	case i.Writes():
		a.Commit, err = timeline.UnmarshalCommit(data)
	case i.Action == timeline.Clean:
		a.Clean, err = timeline.DecodeCleanMetadata(data)
	}
	if err != nil {
		return a, fmt.Errorf("%v: %w", i, err)
	}
	if a.Commit != nil && a.Commit.Compacted && i.Action == timeline.Commit {
		a.Action = timeline.Compaction
	}
	return a, nil
}
