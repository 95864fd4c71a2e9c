package pgserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// fetchable are the versions that Fetch knows.
var fetchable = map[int]embedded.PostgresVersion{
	15: embedded.V15,
	16: embedded.V16,
	17: embedded.V17,
	18: embedded.V18,
}

// findOrFetch is [Find], but downloads what is missing where told is not nil, and
// says so there.
func findOrFetch(version int, told io.Writer) (Binaries, error) {
	b, err := Find(version)
	if err == nil || told == nil {
		return b, err
	}
	if version == 0 {
		version = DefaultVersion
	}
	if _, err := fmt.Fprintf(told, "PostgreSQL %d is not installed: downloading it into %s\n", version, CacheDir()); err != nil {
		return b, err
	}
	return Fetch(version)
}

// Fetch downloads the server's programs of a major version (postgres, initdb and
// pg_ctl, some 15 MB, built by the zonky project and published with checksums) into
// the cache, where Find looks for them.
func Fetch(version int) (Binaries, error) {
	full, ok := fetchable[version]
	if !ok {
		return Binaries{}, fmt.Errorf("PostgreSQL %d cannot be downloaded: 15 to 18 can", version)
	}
	dest := filepath.Join(CacheDir(), "postgres", strconv.Itoa(version))
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return Binaries{}, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dest), "fetch-")
	if err != nil {
		return Binaries{}, err
	}
	defer os.RemoveAll(tmp)
	// The library has no call that only unpacks. It is given a data folder that cannot
	// be made, so that it stops after that, with an error that does not matter.
	nowhere := filepath.Join(tmp, "jar", "nowhere")
	cfg := embedded.DefaultConfig().Version(full).CachePath(filepath.Join(tmp, "jar")).BinariesPath(filepath.Join(tmp, "pg")).
		RuntimePath(filepath.Join(tmp, "run")).DataPath(filepath.Join(nowhere, "data")).Logger(io.Discard)
	port, err := freePort(context.Background())
	if err != nil {
		return Binaries{}, err
	}
	if err := os.MkdirAll(filepath.Dir(nowhere), 0o700); err != nil {
		return Binaries{}, err
	}
	if err := os.WriteFile(nowhere, nil, 0o600); err != nil {
		return Binaries{}, err
	}
	server := embedded.NewDatabase(cfg.Port(uint32(port)))
	if err := server.Start(); err == nil {
		return Binaries{}, server.Stop() // cannot be
	} else if _, missing := os.Stat(filepath.Join(tmp, "pg", "bin", "postgres")); missing != nil {
		return Binaries{}, fmt.Errorf("download PostgreSQL %d: %w", version, err)
	}
	if err := os.Rename(filepath.Join(tmp, "pg"), dest); err != nil && !complete(dest) {
		return Binaries{}, err
	}
	return Find(version)
}

// complete tells whether another process has fetched the same meanwhile.
func complete(dest string) bool {
	_, err := os.Stat(filepath.Join(dest, "bin", "postgres"))
	return err == nil
}
