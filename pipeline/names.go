package pipeline

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"lakefeed/change"
	"lakefeed/storage"
)

// The names of a table in the lake follow one rule (docs/types.md):
//
//  1. In a column's name every character but A-Z a-z 0-9 _ becomes _, and a
//     leading digit gets a _ before it (Avro's names). In a folder's name . and -
//     may stay as well, but not in front.
//  2. A column that would be one of Lakefeed's or Hudi's own (the extra columns,
//     _lakefeed_..., _hoodie_...) and a schema named _lakefeed get src_ in front:
//     Spark deletes rows by a column named _hoodie_is_deleted.
//  3. A name that an earlier one has already, upper and lower case alike, gets _2, _3, ... behind it.

// Rename is a name that could not be kept.
type Rename struct {
	Table  string // source name of the table
	Column string // source name of the column, empty for the table's folder
	Lake   string // its name in the lake
}

// String says it for people.
func (r Rename) String() string {
	if r.Column == "" {
		return fmt.Sprintf("table %s lands in folder %s", r.Table, r.Lake)
	}
	return fmt.Sprintf("column %s of table %s lands as %s", r.Column, r.Table, r.Lake)
}

// Names lists what is renamed in the lake, for tables that land where options say.
// Recorded are the folders that a lake has recorded ([ReadFolders]): a table keeps the one it has.
func Names(tables []*change.Table, options func(*change.Table) TableOptions, recorded map[string]string) []Rename {
	var renames []Rename
	paths := tablePaths(tables, options, recorded)
	for i, t := range tables {
		if want := t.Schema + "/" + t.Name; paths[i] != want && (options == nil || options(t).Path == "") {
			renames = append(renames, Rename{Table: t.String(), Lake: paths[i]})
		}
		for c, name := range columnNames(t) {
			if name != t.Columns[c].Name {
				renames = append(renames, Rename{Table: t.String(), Column: t.Columns[c].Name, Lake: name})
			}
		}
	}
	return renames
}

// ReadFolders is the folder that each table of a pipeline was given in the lake, by
// source name, those of tables that are gone too.
func ReadFolders(ctx context.Context, lake storage.Store, pipeline string) (map[string]string, error) {
	folders := map[string]string{}
	err := eachStream(ctx, lake, pipeline, func(key string) error {
		r, err := readProgress(ctx, lake, key)
		if r != nil {
			maps.Copy(folders, r.Folders)
		}
		return err
	})
	return folders, err
}

// tablePaths gives every table its folder under the lake. What other tables there
// are must not move it: a folder once recorded stays its table's.
func tablePaths(tables []*change.Table, options func(*change.Table) TableOptions, recorded map[string]string) []string {
	taken := map[string]bool{}
	for _, folder := range recorded {
		taken[strings.ToLower(folder)] = true
	}
	paths := make([]string, len(tables))
	for i, t := range tables { // stated folders first: they are not to be moved by others
		if options != nil && options(t).Path != "" {
			paths[i] = strings.Trim(options(t).Path, "/")
			taken[strings.ToLower(paths[i])] = true
		}
	}
	for i, t := range tables {
		if paths[i] == "" {
			paths[i] = recorded[t.String()]
		}
		if paths[i] == "" {
			paths[i] = unique(folderName(t.Schema)+"/"+folderName(t.Name), taken)
		}
	}
	return paths
}

func folderName(s string) string {
	out := strings.Map(func(r rune) rune {
		if isWord(r) || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, s)
	out = strings.TrimLeft(out, ".-")
	if out == "" {
		out = "_"
	}
	if strings.EqualFold(out, "_lakefeed") {
		out = "src_" + out
	}
	return out
}

// columnNames gives every column of a table its name in the lake.
func columnNames(t *change.Table) []string {
	taken := map[string]bool{}
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if isShardColumn(c) {
			names[i] = c.Name // no other column gets it
		} else {
			names[i] = unique(columnName(c.Name), taken)
		}
	}
	return names
}

func columnName(s string) string {
	out := strings.Map(func(r rune) rune {
		if isWord(r) {
			return r
		}
		return '_'
	}, s)
	if out == "" || out[0] >= '0' && out[0] <= '9' {
		out = "_" + out
	}
	low := strings.ToLower(out)
	if isExtra(low) || strings.HasPrefix(low, "_hoodie_") || strings.HasPrefix(low, "_lakefeed_") {
		out = "src_" + out
	}
	return out
}

func isWord(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func unique(name string, taken map[string]bool) string {
	out := name
	for n := 2; taken[strings.ToLower(out)]; n++ {
		out = fmt.Sprintf("%s_%d", name, n)
	}
	taken[strings.ToLower(out)] = true
	return out
}
