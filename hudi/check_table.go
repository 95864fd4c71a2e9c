package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// Severity says what a fault means.
type Severity string

// The severities of a fault.
const (
	// Broken: rows are lost, wrong or twice, or some engine cannot read them.
	Broken Severity = "broken"
	// Leftover: no reader is harmed, but something stands there that nobody needs.
	Leftover Severity = "leftover"
	// Note: worth knowing; a living writer does this.
	Note Severity = "note"
)

// Fault is one thing that [Check] found.
type Fault struct {
	Severity Severity
	File     string // below the table's folder; "" where it is of none
	Offset   int64  // in the file, -1 where that says nothing
	What     string
	WayOut   string // what a person can do
}

// String is the fault on one line.
func (f Fault) String() string {
	at := ""
	switch {
	case f.File != "" && f.Offset >= 0:
		at = fmt.Sprintf("%s at %d: ", f.File, f.Offset)
	case f.File != "":
		at = f.File + ": "
	}
	return string(f.Severity) + ": " + at + f.What
}

// CheckOptions say how thoroughly a table is checked. The zero value looks at everything.
type CheckOptions struct {
	// Quick leaves out the rows: files, footers, log blocks and the timeline only.
	Quick bool
	// GlobalKeys demands that a key be in one partition only, as tables with a global
	// index promise. Tables whose hoodie.index.type says so are held to it anyway.
	GlobalKeys bool
	// Grace is how old a pending instant must be to count as a leftover and not as a
	// writer at work; 0: any is one.
	Grace time.Duration
	// KeyMemory bounds the hashes of keys that are held in memory, in bytes; default 64
	// MiB. Beyond it they are kept in TempDir, 20 bytes a row.
	KeyMemory int64
	// TempDir is where hashes are kept; default the system's.
	TempDir string
	// MaxFaults ends the check; default 1000.
	MaxFaults int
	// Options are those of [Open].
	Options
}

func (o *CheckOptions) setDefaults() {
	o.Options.setDefaults()
	if o.KeyMemory == 0 {
		o.KeyMemory = 64 << 20
	}
	if o.MaxFaults == 0 {
		o.MaxFaults = 1000
	}
}

// CheckReport is what [Check] looked at and found.
type CheckReport struct {
	Instants  int   // on the timeline
	Files     int   // in the table's folder
	Bytes     int64 // of them
	BaseFiles int   // that were opened
	LogFiles  int   // that were opened
	LogBlocks int64
	Rows      int64 // that a reader of the table gets; 0 of a quick check
	Faults    []Fault
}

// Sound tells whether there is nothing but notes.
func (r *CheckReport) Sound() bool {
	return !slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Severity != Note })
}

// Check proves a table sound, or names what is wrong with it: every file in its folder
// is accounted for, every base file and log block can be read and says what the commits
// say of it, the timeline is whole, and each row stands where its key and partition
// columns put it, once. It changes nothing. Memory is bounded, whatever the table's size.
//
// An error says that the check could not be made, as of a table of an unknown version, or
// where the store did not give what was asked for: no file is called damaged for that.
func Check(ctx context.Context, store storage.Store, opts CheckOptions) (*CheckReport, error) {
	opts.setDefaults()
	c := &checker{opts: opts, store: &heedful{Store: store}, report: &CheckReport{}}
	err := c.run(ctx)
	if err == nil {
		err = c.store.failure()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("check %s: %w", store, err)
	}
	slices.SortStableFunc(c.report.Faults, func(a, b Fault) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	return c.report, nil
}

func rank(s Severity) int { return slices.Index([]Severity{Broken, Leftover, Note}, s) }

type checker struct {
	opts     CheckOptions
	store    *heedful
	report   *CheckReport
	table    *Table
	timeline *timeline.Timeline
	files    []TableFile
	written  *written         // of what a reader needs
	history  *schemaHistory   // of the columns, as far as files are read by their numbers
	older    *written         // of that, and of what reads as of older instants need
	sizes    map[string]int64 // of the files, by path
	damaged  map[string]bool  // paths of which a fault is told: a row that they cannot give is none of its own
}

// run looks at the table from the outside in. What a step finds broken, a later one may
// stumble over: it then says no more about it.
func (c *checker) run(ctx context.Context) error {
	table, err := Open(ctx, c.store, c.opts.Options)
	if err != nil {
		return c.fault(err, "restore the file from a copy of the table")
	}
	c.table, c.timeline, c.damaged = table, table.Timeline(), map[string]bool{}
	c.report.Instants = len(c.timeline.Instants())
	for _, step := range []func(context.Context) error{c.checkProperties, c.checkTimeline, c.checkFolder, c.checkData, c.checkRows} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// add notes a fault, unless the store failed, which may look like one. After the last one that
// is wanted it returns errEnough.
func (c *checker) add(severity Severity, file string, offset int64, wayOut, what string, args ...any) error {
	if err := c.store.failure(); err != nil {
		return err
	}
	c.report.Faults = append(c.report.Faults, Fault{severity, file, offset, fmt.Sprintf(what, args...), wayOut})
	if severity == Broken && file != "" {
		if c.damaged == nil {
			c.damaged = map[string]bool{}
		}
		c.damaged[file] = true
	}
	if len(c.report.Faults) >= c.opts.MaxFaults {
		return errEnough
	}
	return nil
}

// fault makes a fault of an error that says that a file is damaged or missing; another
// one stays an error.
func (c *checker) fault(err error, wayOut string) error {
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) {
		return err
	}
	if c.damaged[corrupt.File] {
		return nil
	}
	return c.add(Broken, corrupt.File, corrupt.Offset(), wayOut, "%v", corrupt.Err)
}

func (c *checker) checkProperties(ctx context.Context) error {
	if c.table.Properties()[propChecksum] == "" {
		if err := c.add(Note, propertiesFile, -1, "the next upgrade by Hudi writes it", "it has no %s", propChecksum); err != nil {
			return err
		}
	}
	found, err := exists(ctx, c.store, propertiesCopy)
	if err != nil || !found {
		return err
	}
	return c.add(Leftover, propertiesCopy, -1, "delete it if no engine is changing the table's properties now", "a copy that an interrupted update of the properties left")
}
