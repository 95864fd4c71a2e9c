package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/storage"
)

// lockFlag is by which lock a verb that changes a table shares it with its writers.
type lockFlag struct{ kind string }

// The values of --lock.
const (
	lockAuto    = "auto"
	lockStorage = "storage"
	lockFile    = "file"
	lockNone    = "none"
)

func (f *lockFlag) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.kind, "lock", lockAuto, "the lock that the table's writers share: storage, file or none, which says that no writer lives; auto: the one that hoodie.properties names, or whose file is in the table")
}

// lockProviders are Hudi's classes of locks, by the last part of their names.
var lockProviders = map[string]string{
	"StorageBasedLockProvider":    lockStorage,
	"FileSystemBasedLockProvider": lockFile,
}

// lockFiles show that writers share a lock.
var lockFiles = map[string]string{
	lockStorage: path.Join(".hoodie", ".locks", "table_lock.json"),
	lockFile:    path.Join(".hoodie", "lock"),
}

// concurrency is how the table in a store is shared.
func (f *lockFlag) concurrency(ctx context.Context, store storage.Store) (c hudi.Concurrency, err error) {
	kind := f.kind
	if kind == lockAuto {
		if kind, err = lockOf(ctx, store); err != nil || kind == "" {
			return c, err
		}
	}
	switch kind {
	case lockNone:
		return hudi.Concurrency{Exclusive: true}, nil
	case lockStorage:
		c.Locker = lock.NewStorage(store, lock.StorageOptions{})
	case lockFile:
		c.Locker = lock.NewFile(store, lock.FileOptions{})
	default:
		return c, usage("--lock %q: want auto, storage, file or none", kind)
	}
	c.Mode = hudi.Optimistic
	return c, nil
}

const lockProviderKey = "hoodie.write.lock.provider"

// lockProvider is the class that a table's properties name; "" where they do not, or are
// not to be read, which opening the table tells.
func lockProvider(ctx context.Context, store storage.Store) (string, error) {
	text, _, err := store.Get(ctx, path.Join(".hoodie", "hoodie.properties"))
	if errors.Is(err, storage.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look how the table is locked: %w", err)
	}
	props, err := hudi.ParseProperties(text)
	if err != nil {
		return "", nil //nolint:nilerr // see above
	}
	return props[lockProviderKey], nil
}

// lockOf is the kind of lock that a table's writers share, as far as the table shows one;
// "" where it shows none. One that no verb can take is an error.
func lockOf(ctx context.Context, store storage.Store) (string, error) {
	class, err := lockProvider(ctx, store)
	if err != nil {
		return "", err
	}
	if class != "" {
		if kind, ok := lockProviders[class[strings.LastIndexByte(class, '.')+1:]]; ok {
			return kind, nil
		}
		return "", usage("the table's writers lock by %s (%s), which no verb can take: stop them, and say so with --lock none", class, lockProviderKey)
	}
	for _, kind := range []string{lockStorage, lockFile} {
		_, _, err := store.Get(ctx, lockFiles[kind])
		if err == nil {
			return kind, nil
		}
		if !errors.Is(err, storage.ErrNotExist) {
			return "", fmt.Errorf("look how the table is locked: %w", err)
		}
	}
	return "", nil
}
