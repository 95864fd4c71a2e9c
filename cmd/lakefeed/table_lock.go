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

	lockDynamoDB = "dynamodb" // with :TABLE/KEY behind it
)

func (f *lockFlag) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.kind, "lock", lockAuto, "the lock that the table's writers share: storage, file, dynamodb:TABLE/KEY or none, which says that no writer lives; auto: the one that hoodie.properties names, or whose file is in the table")
}

// lockProviders are Hudi's classes of locks, by the last part of their names.
var lockProviders = map[string]string{
	"StorageBasedLockProvider":    lockStorage,
	"FileSystemBasedLockProvider": lockFile,
	"DynamoDBBasedLockProvider":   lockDynamoDB,
}

// lockFiles show that writers share a lock.
var lockFiles = map[string]string{
	lockStorage: path.Join(".hoodie", ".locks", "table_lock.json"),
	lockFile:    path.Join(".hoodie", "lock"),
}

// concurrency is how the table in a store is shared.
func (f *lockFlag) concurrency(ctx context.Context, store storage.Store) (c hudi.Concurrency, err error) {
	kind, place, inDynamoDB := strings.Cut(f.kind, ":")
	if inDynamoDB && (kind != lockDynamoDB || place == "") {
		kind = "" // none of these
	}
	var props hudi.Properties // of which the other kinds need nothing
	if kind == lockAuto || kind == lockDynamoDB {
		if props, err = lockProperties(ctx, store); err != nil {
			return c, err
		}
	}
	if kind == lockAuto {
		if kind, err = lockOf(ctx, store, props); err != nil || kind == "" {
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
	case lockDynamoDB:
		o, err := dynamoPlace(place, props)
		if err != nil {
			return c, err
		}
		if c.Locker, err = dynamoLocker(ctx, o, props); err != nil {
			return c, err
		}
	default:
		return c, usage("--lock %q: want auto, storage, file, dynamodb:TABLE/KEY or none", f.kind)
	}
	c.Mode = hudi.Optimistic
	return c, nil
}

const lockProviderKey = "hoodie.write.lock.provider"

// lockProperties are a table's properties; nil where they are not to be read, which opening
// the table tells.
func lockProperties(ctx context.Context, store storage.Store) (hudi.Properties, error) {
	text, _, err := store.Get(ctx, path.Join(".hoodie", "hoodie.properties"))
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look how the table is locked: %w", err)
	}
	props, err := hudi.ParseProperties(text)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return props, nil
}

// lockOf is the kind of lock that a table's writers share, as far as the table shows one;
// "" where it shows none. One that no verb can take is an error.
func lockOf(ctx context.Context, store storage.Store, props hudi.Properties) (string, error) {
	if class := props[lockProviderKey]; class != "" {
		name := class[strings.LastIndexByte(class, '.')+1:]
		if kind, ok := lockProviders[name]; ok {
			return kind, nil
		}
		if strings.HasPrefix(name, "DynamoDB") { // one that makes its key itself
			return "", usage("the table's writers lock by %s (%s), whose key only they know: name their lock by --lock dynamodb:TABLE/KEY", class, lockProviderKey)
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
