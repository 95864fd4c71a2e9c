package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// checkLake opens the lake and tries all that a pipeline does there; nil where that fails.
func checkLake(ctx context.Context, p *config.Pipeline, r *checkReport) storage.Store {
	if p.WALBudget.Spool != 0 && p.Spool.URL == "" {
		r.add(heed, "", "spool: {url: file:///... or s3://...}", "wal_budget.spool: the spool is in the lake itself, so that the slot stands still while the lake is away; give it a place of its own")
	}
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		r.add(mustMend, "", "", "open lake: %s", err)
		return nil
	}
	checkSpool(ctx, p, r)
	if err := tryLake(ctx, lake); err != nil {
		r.add(mustMend, "", "", "the lake %s %s", lake, err)
		return nil
	}
	holder, err := pipeline.ReadLock(ctx, lake, p.Name)
	switch {
	case err != nil:
		r.add(mustMend, "", "", "%s", err)
	case holder != nil && holder.Alive():
		r.add(note, "", "", "the pipeline is run by process %d on %s since %s", holder.PID, holder.Host, holder.Since.Format("2006-01-02 15:04:05"))
	}
	return lake
}

// checkSpool tries the place of the spool, where that is not the lake.
func checkSpool(ctx context.Context, p *config.Pipeline, r *checkReport) {
	if p.Spool.URL == "" {
		return
	}
	spool, err := all.Open(ctx, p.Spool.URL)
	if err == nil {
		err = tryLake(ctx, spool)
	}
	if err != nil {
		r.add(mustMend, "", "", "the spool (spool.url): %s", err)
	}
}

// tryLake writes a file, reads, lists and removes it, and sees that the lake refuses to
// write over what another writer has written.
func tryLake(ctx context.Context, lake storage.Store) error {
	folder := "_lakefeed/probe-" + rand.Text()
	name, text := folder+"/f", []byte("lakefeed check: may be removed\n")
	if err := lake.PutIfAbsent(ctx, name, text); err != nil {
		return fmt.Errorf("cannot be written: %w", err)
	}
	err := tryFile(ctx, lake, folder, name, text)
	if removed := lake.DeleteAll(ctx, folder); removed != nil && err == nil {
		err = fmt.Errorf("cannot be cleaned: %w", removed)
	}
	return err
}

func tryFile(ctx context.Context, lake storage.Store, folder, name string, text []byte) error {
	got, v, err := lake.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if !bytes.Equal(got, text) {
		return fmt.Errorf("does not hold in %s what was written", name)
	}
	listed := 0
	for _, err := range lake.List(ctx, folder, true) {
		if err != nil {
			return fmt.Errorf("cannot be listed: %w", err)
		}
		listed++
	}
	if listed != 1 {
		return fmt.Errorf("lists %d files in %s, not the one that was written", listed, folder)
	}
	if err := lake.PutIfAbsent(ctx, name, text); !errors.Is(err, storage.ErrExist) {
		return fmt.Errorf("lets a file be written over that must not be (%v): two writers would not see each other", err) //nolint:errorlint // it may be none
	}
	if _, err := lake.PutIfMatch(ctx, name, append(text, text...), v); err != nil {
		return fmt.Errorf("cannot be written: %w", err)
	}
	if _, err := lake.PutIfMatch(ctx, name, text, v); !errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("lets a version be replaced that is gone (%v): two writers would not see each other", err) //nolint:errorlint // it may be none
	}
	return nil
}

// checkTables looks at the tables to replicate: their names, keys and folders.
func checkTables(ctx context.Context, p *config.Pipeline, o postgres.Options, lake storage.Store, r *checkReport) error {
	source, err := postgres.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(ctx) }() // it only asked
	if lake != nil {
		err := pipeline.CheckPosition(ctx, p.Name, source, lake)
		if err != nil && (r.errors() == 0 || is[*pipeline.PositionError](err) || is[*hudi.CorruptError](err)) { // else it follows from what was found
			r.addError("", err)
		}
	}
	tables, err := sourceOf(p, source).Tables(ctx)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	r.Tables = len(tables)
	if len(tables) == 0 && r.errors() == 0 {
		r.add(mustMend, "", "", "%s", pipeline.ErrNoTables)
	}
	var recorded map[string]string
	if lake != nil {
		if recorded, err = pipeline.ReadFolders(ctx, lake, p.Name); err != nil {
			return fmt.Errorf("read the folders of tables: %w", err)
		}
	}
	renames := pipeline.Names(tables, p.Table, recorded)
	for _, rename := range renames {
		r.add(note, rename.Table, "", "%s", rename)
	}
	folders := map[string]string{}
	for _, t := range tables {
		folder := folderOf(t, p, renames)
		if other, taken := folders[strings.ToLower(folder)]; taken {
			r.add(mustMend, t.String(), "", "lands in folder %s, where %s lands already: give one of them another path", folder, other)
			continue
		}
		folders[strings.ToLower(folder)] = t.String()
		if lake != nil {
			checkFolder(ctx, p, t, lake, folder, r)
		} else if err := pipeline.CheckPartitions(ctx, t, nil, p.Table(t).PartitionBy); err != nil {
			r.addError(t.String(), err)
		}
	}
	return nil
}

// addError is an error of the lake or of its position as a finding.
func (r *checkReport) addError(table string, err error) {
	position := new(pipeline.PositionError)
	switch {
	case errors.As(err, &position):
		r.add(mustMend, table, position.WayOut, "%s", position.What)
	case table != "" && is[*hudi.CorruptError](err):
		r.add(mustMend, table, "put back a copy of that file, or "+pipeline.CopyAnew, "%s", err)
	default:
		r.add(mustMend, table, "", "%s", err)
	}
}

// folderOf is where a table lands.
func folderOf(t *change.Table, p *config.Pipeline, renames []pipeline.Rename) string {
	if o := p.Table(t); o.Path != "" {
		return o.Path
	}
	for _, r := range renames {
		if r.Table == t.String() && r.Column == "" {
			return r.Lake
		}
	}
	return t.Schema + "/" + t.Name
}

// checkFolder sees whether the table's folder is free or its own.
func checkFolder(ctx context.Context, p *config.Pipeline, t *change.Table, lake storage.Store, folder string, r *checkReport) {
	store := storage.Sub(lake, folder)
	table, err := hudi.Open(ctx, store, hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		if err := pipeline.CheckPartitions(ctx, t, nil, p.Table(t).PartitionBy); err != nil {
			r.addError(t.String(), err)
		}
		for f, err := range store.List(ctx, "", true) {
			if err == nil {
				r.add(mustMend, t.String(), "", "folder %s is not empty and holds no Hudi table (%s): move it away, or give the table another path", store, f.Name)
			} else {
				r.add(mustMend, t.String(), "", "look into folder %s: %s", store, err)
			}
			break
		}
		return
	}
	if err != nil {
		r.addError(t.String(), err)
		return
	}
	c, _, err := readCheckpoint(ctx, table, p.Name)
	switch {
	case err != nil:
		r.addError(t.String(), err)
	case c == nil && adopted(ctx, p, t, lake):
		r.add(note, t.String(), "", "the Hudi table in folder %s is to be taken over from the job that keeps it", store)
	case c == nil && len(table.Timeline().Completed()) > 0 && !ofShards(ctx, p, table):
		r.add(mustMend, t.String(), "", "folder %s holds a Hudi table that Lakefeed did not make: `lakefeed adopt` takes a table over from the job that keeps it; else move it away, or give the table another path", store)
	case c != nil && c.Pipeline != p.Name && adopted(ctx, p, t, lake):
		r.add(note, t.String(), "", "the table in folder %s is to go on from this source: pipeline %s keeps it, or kept it", store, c.Pipeline)
	case c != nil && c.Pipeline != p.Name && left(ctx, p, t, lake):
		r.add(note, t.String(), "", "it was handed over: pipeline %s goes on with folder %s", c.Pipeline, store)
	case c != nil && (c.Pipeline != p.Name || c.Table != t.String()):
		r.add(mustMend, t.String(), "", "folder %s belongs to table %s of pipeline %s: give one of them another path", store, c.Table, c.Pipeline)
	default:
		if err := pipeline.CheckPartitions(ctx, t, table, p.Table(t).PartitionBy); err != nil {
			r.addError(t.String(), err)
		}
	}
}

// adopted reports whether a table of another job is to be taken over.
func adopted(ctx context.Context, p *config.Pipeline, t *change.Table, lake storage.Store) bool {
	orders, err := pipeline.ReadOrders(ctx, lake, p.Name)
	return err == nil && orders[t.String()].Adopt != nil
}

// left reports whether another pipeline goes on with a table.
func left(ctx context.Context, p *config.Pipeline, t *change.Table, lake storage.Store) bool {
	orders, err := pipeline.ReadOrders(ctx, lake, p.Name)
	l := orders[t.String()].Leaves
	return err == nil && l != nil && l.Left
}

// ofShards reports whether other shards of the pipeline fill a table.
func ofShards(ctx context.Context, p *config.Pipeline, t *hudi.Table) bool {
	owner, err := pipeline.OwnerOf(ctx, t)
	return err == nil && owner != nil && p.ShardOf != "" && owner.Pipeline == p.ShardOf
}
