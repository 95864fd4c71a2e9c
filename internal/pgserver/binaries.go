package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// Binaries is one installed PostgreSQL.
type Binaries struct {
	Version int    // the major version
	Dir     string // the folder that holds postgres, initdb and the others
}

// ErrNotInstalled is what Find returns, wrapped, when no fitting PostgreSQL is there.
var ErrNotInstalled = errors.New("PostgreSQL is not installed")

// Find returns the binaries of a major version; of [DefaultVersion] or else the
// newest one there for version 0. It looks in the folder that LAKEFEED_PG_BIN
// names, where distributions put them, in Lakefeed's cache (`make setup` fetches
// versions there), and along PATH.
func Find(version int) (Binaries, error) {
	all := Installed()
	want := version
	if want == 0 {
		want = DefaultVersion
	}
	for _, b := range all {
		if b.Version == want {
			return b, nil
		}
	}
	if version == 0 && len(all) > 0 {
		return all[len(all)-1], nil
	}
	if version == 0 {
		return Binaries{}, fmt.Errorf("%w: install it (on Debian: apt-get install postgresql) or set LAKEFEED_PG_BIN to the folder of its programs", ErrNotInstalled)
	}
	return Binaries{}, fmt.Errorf("%w in version %d: `make setup` fetches it", ErrNotInstalled, version)
}

// Installed lists what Find can find: one entry for each major version, the
// oldest first.
func Installed() []Binaries {
	var out []Binaries
	add := func(dir string, version int) {
		if version == 0 || slices.ContainsFunc(out, func(b Binaries) bool { return b.Version == version }) {
			return
		}
		for _, p := range []string{"postgres", "initdb"} {
			if st, err := os.Stat(filepath.Join(dir, p)); err != nil || st.IsDir() {
				return
			}
		}
		out = append(out, Binaries{Version: version, Dir: dir})
	}
	if dir := os.Getenv("LAKEFEED_PG_BIN"); dir != "" {
		add(dir, askVersion(filepath.Join(dir, "postgres")))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian and Ubuntu
		"/usr/pgsql-*/bin",          // Red Hat
		"/opt/homebrew/opt/postgresql@*/bin",
		filepath.Join(CacheDir(), "postgres", "*", "bin"),
	} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			add(dir, folderVersion(dir))
		}
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			add(filepath.Dir(p), askVersion(p))
		}
	}
	slices.SortFunc(out, func(a, b Binaries) int { return a.Version - b.Version })
	return out
}

// CacheDir is where `make setup` keeps what it fetched: LAKEFEED_CACHE, else
// lakefeed in the user's cache folder; for root in /var/cache, since PostgreSQL
// runs there as another user, who may not look into root's home.
func CacheDir() string {
	if dir := os.Getenv("LAKEFEED_CACHE"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/lakefeed"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "lakefeed")
	}
	return filepath.Join(home, ".cache", "lakefeed")
}

var (
	folderDigits = regexp.MustCompile(`(\d+)/bin$`)
	versionLine  = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)
)

func folderVersion(dir string) int {
	m := folderDigits.FindStringSubmatch(filepath.ToSlash(dir))
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

func askVersion(postgres string) int {
	out, err := exec.Command(postgres, "--version").Output() //nolint:noctx // prints a line and ends
	m := versionLine.FindSubmatch(out)
	if err != nil || m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return n
}
