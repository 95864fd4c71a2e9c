package hudi

import (
	"context"
	"errors"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// checkTimeline looks whether each instant has the files that its state takes, and
// whether what they say can be read.
func (c *checker) checkTimeline(ctx context.Context) error {
	if err := c.checkNames(ctx); err != nil {
		return err
	}
	archived, err := c.table.halfArchived(ctx, c.timeline)
	if err != nil {
		return c.fault(err, "delete it: nothing but an audit reads the archive")
	}
	for _, i := range c.timeline.Instants() {
		var err error
		if !slices.Contains(archived, i) {
			err = c.checkStates(i)
		} else {
			err = c.add(Leftover, c.table.instantFile(i), -1, "the next archiving deletes it; so does lakefeed table rollback", "an archiving that was interrupted left it, and the archive has it")
		}
		if err != nil {
			return err
		}
	}
	return c.checkContents(ctx)
}

// checkNames looks for files of the timeline that are no instants'.
func (c *checker) checkNames(ctx context.Context) error {
	names, err := c.table.listTimeline(ctx)
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, ok := timeline.ParseName(n); !ok {
			if err := c.add(Leftover, path.Join(c.table.timelineAt, n), -1, "delete it, if no engine that is newer than this program wrote it", "it is no file of a timeline, and readers pass it over"); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkStates looks whether an instant went through its states in order.
func (c *checker) checkStates(i timeline.Instant) error {
	file := c.table.instantFile(i)
	if i.State != timeline.Completed {
		return c.checkPending(i)
	}
	want := []timeline.State{timeline.Requested, timeline.Inflight}
	if i.Action == timeline.Savepoint {
		want = want[1:] // it begins inflight
	}
	states := c.timeline.States(i.Time)
	for _, s := range want {
		if !slices.ContainsFunc(states, func(o timeline.Instant) bool { return o.State == s }) {
			if err := c.add(Broken, file, -1, "restore the timeline's files from a copy: Hudi's services fail on such an instant", "the instant is completed, and its %s file is not there", s); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPending tells of an instant that is not completed.
func (c *checker) checkPending(i timeline.Instant) error {
	severity := Leftover
	if at, err := timeline.ParseTime(i.Time); err == nil && c.opts.Now().Sub(at) < c.opts.Grace {
		severity = Note
	}
	wayOut := "lakefeed table rollback takes it back or finishes it, unless a writer is at work; so does the next transaction"
	switch i.Action {
	case timeline.Compaction, timeline.Clustering, timeline.LogCompaction:
		if i.State == timeline.Requested {
			severity = Note // a plan: an engine that works apart from the writer carries it out
		}
		wayOut = "the engine that planned it carries it out; so does lakefeed table rollback, where this program may change the table"
	default:
	}
	return c.add(severity, c.table.instantFile(i), -1, wayOut, "%s %s is %s", i.Action, i.Time, i.State)
}

// checkContents reads what the completed instants say.
func (c *checker) checkContents(ctx context.Context) error {
	c.written, c.older = newWritten(), newWritten()
	c.older.all = true
	instants := c.timeline.Instants()
	errs := make([]error, len(instants))
	var read errgroup.Group
	read.SetLimit(commitReaders)
	for n, i := range instants {
		if i.State == timeline.Completed {
			read.Go(func() error {
				errs[n] = c.checkContent(ctx, i)
				return nil
			})
		}
	}
	_ = read.Wait() // each has its own
	for _, err := range errs {
		if err == nil || errors.Is(err, storage.ErrNotExist) { // archived meanwhile
			continue
		}
		if err := c.fault(err, "restore the file from a copy: what the instant wrote is not known without it"); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkContent(ctx context.Context, i timeline.Instant) error {
	data, err := c.table.readInstant(ctx, i)
	if err != nil {
		return err
	}
	switch i.Action {
	case timeline.Clean:
		_, err = timeline.DecodeCleanMetadata(data)
	case timeline.Rollback:
		_, err = timeline.DecodeRollbackMetadata(data)
	case timeline.Restore:
		_, err = timeline.DecodeRestoreMetadata(data)
	case timeline.Savepoint:
		_, err = timeline.DecodeSavepointMetadata(data)
	case timeline.Indexing:
		_, err = timeline.DecodeIndexCommitMetadata(data)
	default:
		if i.Writes() {
			m, err := c.table.parseCommit(i, data)
			if err != nil {
				return err
			}
			c.written.add(i.Time, i.Completion, m)
			c.older.add(i.Time, i.Completion, m)
		}
	}
	if err != nil {
		return &CorruptError{c.table.instantFile(i), err}
	}
	return nil
}
