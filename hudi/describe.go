package hudi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/schema"
	"lakefeed/storage"
)

// What a table's owner asks of it that no transaction needs.

// Merging says in words which of several records of a key counts.
func (t *Table) Merging() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	said := "the one written later"
	if len(t.merge.order) > 0 {
		said = "the greatest by " + strings.Join(t.merge.order, ", ")
	}
	switch t.merge.fill {
	case fillMarker:
		said += "; " + t.merge.marker + " keeps the value of before"
	case fillNulls:
		said += "; null keeps the value of before"
	case fillNothing:
	}
	return said
}

// sampledFiles is how many base files an estimate looks at.
const sampledFiles = 8

// EstimateRows is about how many rows the table has, by the footers of some base files
// spread over it and the sizes of the others. It is exact where no file was left out and
// there are no log files, whose rows it does not know.
func (t *Table) EstimateRows(ctx context.Context) (rows int64, exact bool, err error) {
	var files []*DataFile
	exact = true
	for _, s := range t.Slices() {
		if s.Base != nil {
			files = append(files, s.Base)
		}
		exact = exact && len(s.Logs) == 0
	}
	every := max(1, (len(files)+sampledFiles-1)/sampledFiles)
	var seen, all int64
	for i, f := range files {
		all += f.Size
		if i%every != 0 {
			continue
		}
		n, err := t.rowsOf(ctx, f)
		if err != nil {
			return 0, false, fmt.Errorf("estimate the rows of %s: %w", t.name, err)
		}
		rows += n
		seen += f.Size
	}
	if every == 1 || seen == 0 {
		return rows, exact, nil
	}
	return int64(float64(rows) / float64(seen) * float64(all)), false, nil
}

func (t *Table) rowsOf(ctx context.Context, f *DataFile) (int64, error) {
	file, err := t.openFile(ctx, f.Path())
	if err != nil {
		return 0, err
	}
	defer closeFile(file)
	in := &reading{Reader: file, path: f.Path()}
	r, err := basefile.Open(in, file.Size(), nil)
	if err != nil {
		return 0, in.blame(err)
	}
	return r.NumRows(), r.Close() //nolint:wrapcheck // nothing is written
}

// Sign is a file by which a writer, of whatever engine, shows others that it is there: a
// lock, a heartbeat or our writers' claim. It may be a dead one's.
type Sign struct {
	File string    // below the table's folder
	At   time.Time // when it was written
	Text string    // what it says, a claim in words; "" for a heartbeat
}

// signFiles are where writers leave signs: a file, and folders.
var signFiles = []string{metaFolder + "/lock", metaFolder + "/.locks", path.Dir(claimFile)}

// Signs are the locks and heartbeats that stand in the table's folder.
func (t *Table) Signs(ctx context.Context) ([]Sign, error) {
	var out []Sign
	for info, err := range t.store.List(ctx, metaFolder, false) {
		if err != nil {
			return nil, fmt.Errorf("look for writers of %s: %w", t.name, err)
		}
		if info.Name == signFiles[0] {
			out = append(out, Sign{File: info.Name, At: info.ModTime})
		}
	}
	for _, folder := range append(slices.Clone(signFiles[1:]), heartbeatFolder) {
		for info, err := range t.store.List(ctx, folder, false) {
			if err != nil {
				return nil, fmt.Errorf("look for writers of %s: %w", t.name, err)
			}
			if folder == path.Dir(claimFile) && info.Name != claimFile {
				continue // what no writer shows itself by
			}
			out = append(out, Sign{File: info.Name, At: info.ModTime})
		}
	}
	for i, s := range out {
		if path.Dir(s.File) == heartbeatFolder {
			continue
		}
		text, _, err := t.store.Get(ctx, s.File)
		if err != nil && !errors.Is(err, storage.ErrNotExist) {
			return nil, fmt.Errorf("read %s: %w", s.File, err)
		}
		out[i].Text = signText(s.File, text)
	}
	return out, nil
}

// signText is what a sign says.
func signText(name string, text []byte) string {
	const most = 512
	r := claimRecord{}
	if name != claimFile || json.Unmarshal(text, &r) != nil {
		return string(text[:min(len(text), most)])
	}
	return fmt.Sprintf("%s, since %s, seen last at %s, at work on %s", r.Holder, stamp(r.Since), stamp(r.Seen), cmp.Or(r.on(), "nothing"))
}

// LastArchived is when the timeline was last archived, by the dates of the archive's
// files; the zero time where it never was.
func (t *Table) LastArchived(ctx context.Context) (last time.Time, err error) {
	for info, err := range t.store.List(ctx, t.Properties().archiveFolder(), false) {
		if err != nil {
			return last, fmt.Errorf("look for the archive of %s: %w", t.name, err)
		}
		if info.ModTime.After(last) {
			last = info.ModTime
		}
	}
	return last, nil
}

// Writable tells why transactions and services refuse the table, as far as its properties
// and its schema say: an [UnsupportedError], or nil.
func (t *Table) Writable() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if err := t.checkServable(t.props); err != nil {
		return err
	}
	return t.checkSchemaWritable()
}

// checkSchemaWritable refuses tables whose columns have other names in older files.
func (t *Table) checkSchemaWritable() error {
	if t.latest == "" {
		return nil
	}
	return &UnsupportedError{"schema", schema.LatestKey, "columns of this table were renamed, dropped or moved by Hudi's schema evolution on read: it is only read here"}
}
