package hudi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"lakefeed/hudi/lock"
	"lakefeed/storage"
)

// The metadata table is a Hudi table within a table, where Hudi's writers keep the list of
// its files, statistics of columns, and indexes. Where hoodie.properties names it, engines
// list files by it: a commit that is not in it is not there for them. This package reads
// tables without it and does not keep it up, so it has to be gone before anything is
// written: first hoodie.properties names it no more, from when on engines list folders, then
// its files go. Hudi's own writers do the same where they are told hoodie.metadata.enable=false.
// docs/adr/0025-remove-a-metadata-table.md has why, and what may be beside it.

// MetadataTablePolicy says what becomes of a table's metadata table when the table is to be
// changed.
type MetadataTablePolicy string

const (
	// RemoveMetadataTable takes it away. Engines list the folders from then on; one that
	// writes with hoodie.metadata.enable=true makes it anew, as Spark does by default.
	RemoveMetadataTable MetadataTablePolicy = "remove"
	// RefuseMetadataTable leaves it alone: transactions and services return an
	// [UnsupportedError].
	RefuseMetadataTable MetadataTablePolicy = "refuse"
)

// Validate tells what is wrong with it.
func (p MetadataTablePolicy) Validate() error {
	if p != "" && p != RemoveMetadataTable && p != RefuseMetadataTable {
		return badOption("metadata table %q: want %s or %s", p, RemoveMetadataTable, RefuseMetadataTable)
	}
	return nil
}

// metadataFolder is where it is.
const metadataFolder = metaFolder + "/metadata"

// metadataTable names the parts of the metadata table, those that are being built too; none
// where there is none.
func (p Properties) metadataTable() []string {
	return slices.Concat(p.list(propMetadata), p.list(propMetadataBusy))
}

// MetadataTable names the parts of the table's metadata table, as "files" and
// "column_stats", those that are being built too; none where it has none. Reads of this
// package list folders instead.
func (t *Table) MetadataTable() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.props.metadataTable()
}

// checkServable refuses tables that this Table may not change.
func (t *Table) checkServable(p Properties) error {
	if err := p.checkServable(); err != nil {
		return err
	}
	return t.checkMetadataTable(p)
}

// checkMetadataTable refuses a table whose metadata table is to be left alone.
func (t *Table) checkMetadataTable(p Properties) error {
	if parts := p.metadataTable(); len(parts) > 0 && t.opts.MetadataTable == RefuseMetadataTable {
		return &UnsupportedError{"metadata table", strings.Join(parts, ","), "engines list files by it, and this writer does not keep it up: let it be removed (Options.MetadataTable " +
			string(RemoveMetadataTable) + ", lakefeed table --metadata-table " + string(RemoveMetadataTable) + "), or by a write of Spark's with hoodie.metadata.enable=false"}
	}
	return nil
}

// removeMetadataTable takes away the metadata table that the properties name, or what a
// removal that broke off left of one. For the latter it looks once, and again whenever
// hoodie.properties have changed: another writer's removal may have broken off. Who calls it has the
// table: the lock that writers share, or the claim.
func (t *Table) removeMetadataTable(ctx context.Context) error {
	parts := t.props.metadataTable()
	if t.opts.MetadataTable == RefuseMetadataTable || len(parts) == 0 && t.listed {
		return nil
	}
	t.listed = false
	if err := t.unlistMetadataTable(ctx); err != nil {
		return fmt.Errorf("remove the metadata table: %w", err)
	}
	found, err := t.deleteMetadataTable(ctx)
	if err != nil {
		return fmt.Errorf("remove the metadata table: %w", err)
	}
	t.listed = true
	switch {
	case len(parts) > 0:
		t.opts.Logger.Warn("removed the metadata table, by which engines list files and which is not kept up here; a writer with hoodie.metadata.enable=true makes it anew", "table", t.name, "parts", strings.Join(parts, ","))
	case found:
		t.opts.Logger.Info("deleted the rest of a metadata table", "table", t.name)
	}
	return nil
}

// unlistMetadataTable lets hoodie.properties name no metadata table.
func (t *Table) unlistMetadataTable(ctx context.Context) error {
	if len(t.props.metadataTable()) == 0 {
		return nil
	}
	props, err := t.changeProperties(ctx, func(p Properties) (changed bool) {
		changed = len(p.metadataTable()) > 0
		delete(p, propMetadata)
		delete(p, propMetadataBusy)
		return changed
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.props = props
	return nil
}

// deleteMetadataTable deletes its files, and tells whether there were any. Its timeline, in the first
// folder, goes first: who opens it then finds no table, rather than one that lacks files.
func (t *Table) deleteMetadataTable(ctx context.Context) (found bool, err error) {
	folders, err := t.store.Dirs(ctx, metadataFolder)
	var files []string
	if err == nil && len(folders) == 0 { // only the last step of a removal broke off
		files, err = storage.Names(ctx, t.store, metadataFolder)
	}
	if err != nil || len(folders)+len(files) == 0 {
		return false, err //nolint:wrapcheck // the caller says what it is about
	}
	for _, name := range append(folders, "") { // and the folder itself
		folder := path.Join(metadataFolder, name)
		if err := t.proveHeld(ctx); err != nil {
			return true, err
		}
		if err := t.store.DeleteAll(ctx, folder); err != nil {
			return true, fmt.Errorf("delete %s: %w", folder, err)
		}
	}
	return true, nil
}

// proveHeld refuses to go on where another writer has the table: by the lock that writers
// share, where there is one, else by the claim.
func (t *Table) proveHeld(ctx context.Context) error {
	if t.lease != nil {
		if _, err := t.lease.Check(ctx); errors.Is(err, lock.ErrLost) {
			return &ConflictError{Reason: "another writer has its lock", Err: err}
		} else if err != nil {
			return fmt.Errorf("prove that the table's lock is held: %w", err)
		}
	}
	return t.proveAgain(ctx)
}

// checkAdded refuses to publish where a metadata table was added meanwhile and no
// other writer is known: then one was at work all the same, and the transaction builds on a
// table that it has changed, perhaps.
func (x *Txn) checkAdded(p Properties) error { return x.table.checkAdded(x.time, p) }

// checkAdded is the same of an instant of a service.
func (t *Table) checkAdded(instant string, p Properties) error {
	parts := p.metadataTable()
	if len(parts) == 0 || t.opts.Concurrency.optimistic() {
		return nil
	}
	return &ConflictError{Instant: instant, Reason: fmt.Sprintf(
		"another engine added a metadata table (%s) meanwhile: stop it, or give both Concurrency.Mode %s and one lock; what is begun anew removes it", strings.Join(parts, ","), Optimistic)}
}

// removeAdded looks once more, right before an instant of a service is completed that others may
// have written beside, whether a metadata table was added: that lacks the files of the instant,
// and writers that list files by it would log on those that they supersede. Under the lock that
// writers share, where the properties were just read anew, it is removed; else it is a conflict.
func (t *Table) removeAdded(ctx context.Context, instant string) error {
	props := t.props
	if !t.opts.Concurrency.optimistic() {
		var err error
		if props, err = t.readProperties(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(t.checkMetadataTable(props), t.checkAdded(instant, props)); err != nil {
		return err
	}
	return t.removeMetadataTable(ctx)
}
