package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// identify says which log a connection for replication reads.
func (c *Connector) identify(ctx context.Context, conn *pgconn.PgConn) (change.Identity, error) {
	row, err := oneRow(ctx, conn, "IDENTIFY_SYSTEM")
	if err != nil {
		return change.Identity{}, fmt.Errorf("identify the server: %w", c.throughPooler(err))
	}
	return c.identity(row)
}

// identity reads the answer to IDENTIFY_SYSTEM.
func (c *Connector) identity(row []string) (change.Identity, error) {
	if len(row) < 4 {
		return change.Identity{}, errMalformed
	}
	timeline, err := strconv.ParseInt(row[1], 10, 32)
	if err != nil {
		return change.Identity{}, fmt.Errorf("identify the server: timeline: %w", err)
	}
	return change.Identity{SystemID: row[0], Timeline: int32(timeline), Database: row[3], Slot: c.slot}, nil
}

// sameServer refuses a connection that leads to another log than the one that Identity named:
// of several hosts another one answers by now, and only a new session may go on there.
func (c *Connector) sameServer(id change.Identity) error {
	known := c.known.Load()
	if known == nil || *known == id {
		return nil
	}
	return &brokenError{fmt.Errorf("another server answers than before (system %s, timeline %d; was system %s, timeline %d)", id.SystemID, id.Timeline, known.SystemID, known.Timeline)}
}

// History is where earlier timelines were left for the one that the server is on now, the
// oldest first. A server that was never promoted or restored has none.
func (c *Connector) History(ctx context.Context) (branches []change.Branch, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the history of the server's timeline: %w", err)
		}
	}()
	conn, err := c.replication(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing depends on it
	id, err := c.identify(ctx, conn)
	if err == nil {
		err = c.sameServer(id)
	}
	if err != nil || id.Timeline == 1 {
		return nil, err
	}
	row, err := oneRow(ctx, conn, fmt.Sprintf("TIMELINE_HISTORY %d", id.Timeline))
	if err != nil {
		return nil, err
	}
	if len(row) != 2 {
		return nil, errMalformed
	}
	return parseHistory([]byte(row[1]))
}

// parseHistory reads a timeline's history file: a line "timeline <tab> position <tab> reason" for
// each that was left; comments begin with #.
func parseHistory(file []byte) (branches []change.Branch, err error) {
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("%w: line %q", errMalformed, lines.Text())
		}
		timeline, err := strconv.ParseInt(fields[0], 10, 32)
		at, err2 := change.ParseLSN(fields[1])
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		branches = append(branches, change.Branch{Timeline: int32(timeline), At: at})
	}
	return branches, lines.Err()
}
