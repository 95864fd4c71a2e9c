package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/storage"
	"lakefeed/storage/file"
)

// lockedTable is a table in a folder, and a way to write a row to it.
type lockedTable struct {
	t     *testing.T
	dir   string
	store storage.Store
	*hudi.Table
}

func newLockedTable(t *testing.T, locker func(storage.Store) lock.Locker) *lockedTable {
	t.Helper()
	dir := t.TempDir()
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := hudi.CreateOptions{Name: "shared", Schema: lockedSchema, RecordKey: []string{"id"}, OrderingField: "v"}
	o.Services = &hudi.ServicesOptions{}
	if locker != nil {
		o.Concurrency = hudi.Concurrency{Mode: hudi.Optimistic, Locker: locker(store)}
	}
	table, err := hudi.Create(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	l := &lockedTable{t, dir, store, table}
	l.upsert("a")
	return l
}

var lockedSchema = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)

func (l *lockedTable) upsert(key string) {
	l.t.Helper()
	rows, _, err := array.RecordFromJSON(memory.DefaultAllocator, lockedSchema, strings.NewReader(`[{"id":"`+key+`","v":1}]`))
	if err == nil {
		_, err = l.Upsert(l.t.Context(), rows)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// begin begins a transaction that stays at work.
func (l *lockedTable) begin() *hudi.Txn {
	l.t.Helper()
	x, err := l.Begin(l.t.Context(), hudi.TxnOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	return x
}

// verb calls one that changes the table.
func (l *lockedTable) verb(verb string, flags ...string) (code int, text string) {
	var out bytes.Buffer
	code = run(l.t.Context(), append([]string{"table", verb, l.dir}, flags...), nil, &out, &out)
	return code, out.String()
}

var changingVerbs = []string{"savepoint", "archive", "clean", "compact", "rollback"}

// TestVerbsBesideAWriter calls the verbs that change a table while a writer that shares it
// is in a transaction: they take its lock, and the transaction lives.
func TestVerbsBesideAWriter(t *testing.T) {
	t.Parallel()
	for name, locker := range map[string]func(storage.Store) lock.Locker{
		"storage": func(s storage.Store) lock.Locker { return lock.NewStorage(s, lock.StorageOptions{}) },
		"file":    func(s storage.Store) lock.Locker { return lock.NewFile(s, lock.FileOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLockedTable(t, locker)
			x := l.begin()
			for _, verb := range changingVerbs {
				if code, text := l.verb(verb, "--lock", name); code != 0 {
					t.Errorf("%s with the table's lock: exit code %d: %s", verb, code, text)
				}
			}
			if _, err := x.Commit(t.Context(), nil); err != nil {
				t.Errorf("the writer's transaction: %v", err)
			}
		})
	}
}

// TestVerbsFindTheLock calls verbs that are told no lock.
func TestVerbsFindTheLock(t *testing.T) {
	t.Parallel()
	shared := newLockedTable(t, func(s storage.Store) lock.Locker { return lock.NewStorage(s, lock.StorageOptions{}) })
	sole := newLockedTable(t, nil)
	named := newLockedTable(t, nil)
	const properties = ".hoodie/hoodie.properties"
	text, _, err := named.store.Get(t.Context(), properties)
	if err == nil {
		err = named.store.Put(t.Context(), properties, append(text, "hoodie.write.lock.provider=org.apache.hudi.client.transaction.lock.ZookeeperBasedLockProvider\n"...))
	}
	if err != nil {
		t.Fatal(err)
	}
	kept, lost := shared.begin(), sole.begin()
	for _, verb := range changingVerbs {
		if code, text := shared.verb(verb); code != 0 {
			t.Errorf("%s where writers share a lock: exit code %d: %s", verb, code, text)
		}
		if code, text := sole.verb(verb); code == 0 || !strings.Contains(text, "is at work on") || !strings.Contains(text, lost.Instant()) {
			t.Errorf("%s beside a writer at work: exit code %d: %s", verb, code, text)
		}
		if code, text := named.verb(verb); code == 0 || !strings.Contains(text, "ZookeeperBasedLockProvider") {
			t.Errorf("%s where writers lock by ZooKeeper: exit code %d: %s", verb, code, text)
		}
	}
	if _, err := kept.Commit(t.Context(), nil); err != nil {
		t.Errorf("the sharing writer's transaction: %v", err)
	}
	if code, text := sole.verb("rollback", "--lock", "none"); code != 0 {
		t.Errorf("--lock none: exit code %d: %s", code, text)
	}
	if _, err := lost.Commit(t.Context(), nil); err == nil {
		t.Error("a transaction that --lock none took back is committed")
	}
	if err := lost.Abort(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	sole.upsert("b")
	if code, text := sole.verb("clean", "--lock", "zookeeper"); code == 0 || !strings.Contains(text, "--lock") {
		t.Errorf("an unknown lock: exit code %d: %s", code, text)
	}
}
