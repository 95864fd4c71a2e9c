package logfile

import (
	"fmt"
	"regexp"
	"strconv"
)

// Name is the name of a log file, taken apart.
type Name struct {
	FileID string // of the file group
	// Instant is the base instant of the file slice in tables of version 6, and
	// the instant of the delta commit itself in later ones.
	Instant string
	Version int    // counts the log files of one instant, from 1
	Token   string // of the write attempt, n-n-n; may be missing in foreign files
	CDC     bool   // the file holds change data beside the log proper
}

// FileName returns the name of a log file, .<file id>_<instant>.log.<version>_<token>.
func FileName(fileID, instant string, version int, token string) string {
	return "." + fileID + "_" + instant + ".log." + strconv.Itoa(version) + "_" + token
}

var fileName = regexp.MustCompile(`^\.(.+)_(.*)\.log\.(\d+)(?:_(\d+-\d+-\d+))?(\.cdc)?$`)

// ParseFileName takes the name of a log file apart. The error is for names of
// other files.
func ParseFileName(name string) (Name, error) {
	m := fileName.FindStringSubmatch(name)
	if m == nil {
		return Name{}, fmt.Errorf("parse log file name %q: want .<file id>_<instant>.log.<version>_<token>", name)
	}
	version, err := strconv.Atoi(m[3])
	if err != nil {
		return Name{}, fmt.Errorf("parse log file name %q: %w", name, err)
	}
	return Name{FileID: m[1], Instant: m[2], Version: version, Token: m[4], CDC: m[5] != ""}, nil
}

// String returns the file name.
func (n Name) String() string {
	s := "." + n.FileID + "_" + n.Instant + ".log." + strconv.Itoa(n.Version)
	if n.Token != "" {
		s += "_" + n.Token
	}
	if n.CDC {
		s += ".cdc"
	}
	return s
}
