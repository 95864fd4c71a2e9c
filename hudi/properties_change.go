package hudi

import (
	"context"
	"errors"
	"fmt"

	"lakefeed/storage"
)

// changeProperties lets hoodie.properties say something else. Change is given what they say,
// and tells whether it has changed that: it is called again where another writer was faster.
// It returns what they say then. Who calls it has the table: the lock that writers share, or
// the claim.
func (t *Table) changeProperties(ctx context.Context, change func(Properties) (changed bool)) (Properties, error) {
	for range claimTries {
		props, version, err := t.readPropertiesAt(ctx)
		if err == nil {
			err = t.checkSameVersion(props)
		}
		if err != nil || !change(props) {
			return props, err
		}
		if err := t.writeProperties(ctx, props, version); !errors.Is(err, storage.ErrConflict) && !errors.Is(err, storage.ErrExist) {
			return props, err
		}
	}
	return nil, &ConflictError{Reason: "another writer changes " + propertiesFile + " all the time: stop it"}
}

// readPropertiesAt reads hoodie.properties, refuses what cannot be read here, and tells the
// file's version; "" where only the copy is there that Hudi keeps while it writes the file anew.
func (t *Table) readPropertiesAt(ctx context.Context) (Properties, storage.Version, error) {
	file := propertiesFile
	text, version, err := t.store.Get(ctx, file)
	if errors.Is(err, storage.ErrNotExist) {
		// Hudi deletes the file before it writes it anew, and keeps a copy meanwhile.
		file = propertiesCopy
		text, _, err = t.store.Get(ctx, file)
		version = ""
	}
	if errors.Is(err, storage.ErrNotExist) {
		return nil, "", ErrNoTable
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", file, err)
	}
	p, err := ParseProperties(text)
	if err != nil {
		return nil, "", &CorruptError{file, err}
	}
	return p, version, p.check()
}

// writeProperties puts hoodie.properties in the place of a version of it, and takes away the
// checksum beside it, which Hadoop's local file system keeps and would compare.
func (t *Table) writeProperties(ctx context.Context, props Properties, version storage.Version) error {
	const sum = metaFolder + "/.hoodie.properties.crc"
	if err := t.proveHeld(ctx); err != nil {
		return err
	}
	if err := t.store.Delete(ctx, sum); err != nil {
		return fmt.Errorf("delete %s: %w", sum, err)
	}
	text, err := props.Format(t.opts.Now()), error(nil)
	if version == "" {
		err = t.store.PutIfAbsent(ctx, propertiesFile, text)
	} else {
		_, err = t.store.PutIfMatch(ctx, propertiesFile, text, version)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", propertiesFile, err)
	}
	return nil
}
