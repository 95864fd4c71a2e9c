package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/pgserver"
)

//go:embed debezium/Drain.java
var drainJava []byte

// debezium lets Debezium's embedded engine read a backlog, as the objects that it makes before any
// converter, and drop it: the least that it can take. Starting the virtual machine is part of its time.
func (b *bench) debezium(ctx context.Context, l backlog, what string, changes int64) error {
	const name = "bench_debezium"
	if err := b.copySlot(ctx, l.kept(), name); err != nil {
		return err
	}
	at, err := pgx.ParseConfig(b.url)
	if err != nil {
		return err
	}
	source := filepath.Join(b.dir, "Drain.java")
	if err := os.WriteFile(source, drainJava, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "java", "-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(pgserver.CacheDir(), "debezium", "lib", "*"), source, strconv.FormatInt(changes, 10),
		"name=bench", "connector.class=io.debezium.connector.postgresql.PostgresConnector",
		"offset.storage=org.apache.kafka.connect.storage.MemoryOffsetBackingStore", "offset.flush.interval.ms=10000",
		"database.hostname=127.0.0.1", "database.port="+strconv.Itoa(b.server.Port()), "database.user="+at.User, "database.password="+at.Password, "database.dbname="+at.Database,
		"topic.prefix=bench", "plugin.name=pgoutput", "slot.name="+name, "publication.name="+l.slot(), "publication.autocreate.mode=disabled",
		"snapshot.mode=no_data", "tombstones.on.delete=false", "max.batch.size=8192", "max.queue.size=32768", "poll.interval.ms=50")
	cmd.Stderr = os.Stderr
	if err := b.measure(what, changes, cmd); err != nil {
		return fmt.Errorf("%w (scripts/install-debezium.sh installs it)", err)
	}
	return b.drop(ctx, name)
}
