package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"lakefeed/change"
)

// A part of a table is copied by one COPY: all of it, or a range of its blocks,
// which PostgreSQL reads by a TID range scan. At least so many blocks are worth a part.
const (
	partBlocks     = 4096    // 32 MiB
	maxPartBlocks  = 1 << 16 // 512 MiB
	maxPartBytes   = maxPartBlocks << 13
	partsPerReader = 4
	copyBatchRows  = 1 << 16
)

// Copy emits every row that the table has under the snapshot, in no order, from
// several connections. emit is never called concurrently. A table that was truncated
// or written anew since the snapshot was opened is a *[change.RewrittenError], one whose
// columns were changed since it was described a *[change.AlteredError].
func (c *Connector) Copy(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error {
	if c.snap == nil {
		return errors.New("copy " + t.String() + ": no snapshot is open")
	}
	if t.LogOnly {
		return nil
	}
	if err := c.copyTable(ctx, t, emit); err != nil {
		return fmt.Errorf("copy %s: %w", t, c.copyError(ctx, t, c.altered(ctx, t, err)))
	}
	return nil
}

// altered is a copy's error, or says that the table's columns are no longer what the copy
// was told: between two parts nothing keeps its owner from altering it.
func (c *Connector) altered(ctx context.Context, t *change.Table, err error) error {
	_, rewritten := errors.AsType[*change.RewrittenError](err)
	_, altered := errors.AsType[*change.AlteredError](err)
	if rewritten || altered || ctx.Err() != nil || Retryable(err) {
		return err
	}
	now, lookErr := c.look(ctx, t.ID)
	if lookErr != nil || now == nil {
		return err
	}
	_, changed := copyTypes(t, now)
	if changed == nil && !sameLeaves(t, now.Table) {
		changed = errOtherLeaves
	}
	if changed != nil {
		return &change.AlteredError{Table: t.String(), Err: errors.Join(changed, err)}
	}
	return err
}

func (c *Connector) copyTable(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error {
	now, err := c.look(ctx, t.ID)
	if err != nil {
		return err
	}
	if now == nil {
		return &change.AlteredError{Table: t.String(), Err: errors.New("it is gone")}
	}
	types, err := copyTypes(t, now)
	if err != nil {
		return err
	}
	if err := c.asDescribed(ctx, t); err != nil {
		return err
	}
	parts, err := c.copyParts(ctx, t, now)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var mu sync.Mutex
	serial := func(b *change.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		return emit(b)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range min(c.opts.CopyConnections, len(parts)) {
		g.Go(func() error {
			return c.under(ctx, c.snap, func(w *wire) error {
				cp := &copier{wire: w, rows: c.newRows(t, types), types: types, at: c.snap.at, limit: c.opts.ChunkBytes, emit: serial, pace: c.pace.of(ctx)}
				for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
					if err := cp.part(ctx, parts[i]); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil || len(parts) == 0 || !now.partitioned || parts[0].table != t.ID {
		return err
	}
	if now, err = c.look(ctx, t.ID); err == nil && (now == nil || !sameLeaves(t, now.Table)) { // through its root a table is read as it is divided now
		err = &change.AlteredError{Table: t.String(), Err: errOtherLeaves}
	}
	return err
}

// copyPart is what one COPY reads of a table.
type copyPart struct {
	from  string // the FROM clause
	table uint32 // the number of the table, or of the partition
	file  string // which its rows lie in, as it was planned; "": whichever it is
}

// asDescribed sees that the snapshot has the partitions and columns of the table that t says, those that t leaves out
// among them, none altered and none more: what a column that t lacks held before the snapshot would be in no log.
func (c *Connector) asDescribed(ctx context.Context, t *change.Table) error {
	return c.under(ctx, c.snap, func(w *wire) error { return shownAsDescribed(ctx, w, t) })
}

// shownAsDescribed is asDescribed for what a connection sees.
func shownAsDescribed(ctx context.Context, w *wire, t *change.Table) error {
	columns := slices.Concat(t.Columns, t.Left)
	slices.SortFunc(columns, func(a, b change.Column) int { return a.ID - b.ID })
	want := make([]string, len(columns))
	for i, col := range columns {
		want[i] = fmt.Sprint(col.ID, " ", col.Shape)
	}
	stop := w.watch(ctx)
	have, err := w.value(fmt.Sprintf(`SELECT coalesce(string_agg(attnum || ' ' || xmin, ',' ORDER BY attnum), '') FROM pg_attribute
		WHERE attrelid = %d AND attnum > 0 AND NOT attisdropped AND (attgenerated = '' OR attgenerated = 's' AND current_setting('server_version_num')::int >= 180000)`, t.ID))
	stop()
	if err != nil {
		return interrupted(ctx, fmt.Errorf("look at the columns that the snapshot has: %w", err))
	}
	if have != strings.Join(want, ",") {
		return &change.AlteredError{Table: t.String(), Err: errors.New("its columns are others in the snapshot")}
	}
	return dividedAsDescribed(ctx, w, t)
}

// copyTypes are the types of t's columns, which are read by their names of now, if the table has them still.
func copyTypes(t *change.Table, now *catalogTable) ([]dataType, error) {
	if now.String() != t.String() {
		return nil, fmt.Errorf("its name is %s now", now)
	}
	types := make([]dataType, len(t.Columns))
	for i, col := range t.Columns {
		j := columnIndex(now.Table, col.Name)
		if j < 0 || now.Columns[j].Type != col.Type || now.Columns[j].ID != col.ID {
			return nil, fmt.Errorf("column %s was changed meanwhile", col.Name)
		}
		types[i] = now.types[j]
	}
	if !slices.Equal(keyNames(t), keyNames(now.Table)) {
		return nil, fmt.Errorf("its key was (%s)", strings.Join(keyNames(t), ", "))
	}
	return types, nil
}

// keyNames are the columns of a table's key.
func keyNames(t *change.Table) []string {
	names := make([]string, len(t.Key))
	for i, k := range t.Key {
		names[i] = t.Columns[k].Name
	}
	return names
}

// copyParts are together the whole table t, which is now as the catalogs say. What has become a partition
// since it was described is no part of it.
func (c *Connector) copyParts(ctx context.Context, described *change.Table, t *catalogTable) ([]copyPart, error) {
	var parts []copyPart
	leaves := make([]uint32, len(described.Leaves))
	for i, l := range described.Leaves {
		leaves[i] = l.ID
	}
	err := c.sizing(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT l.oid, n.nspname, l.relname, pg_relation_size(l.oid) / current_setting('block_size')::int,
				coalesce(a.amname = 'heap', false), has_table_privilege(l.oid, 'SELECT')
			FROM (SELECT $1::oid AS oid WHERE NOT $2 UNION ALL SELECT unnest($3::oid[]) WHERE $2) o
			JOIN pg_class l ON l.oid = o.oid AND l.relkind = 'r' JOIN pg_namespace n ON n.oid = l.relnamespace LEFT JOIN pg_am a ON a.oid = l.relam`,
			t.ID, t.partitioned, leaves)
		if err != nil {
			return err
		}
		there, whole := 0, false // a partition that we may read only through its root
		var id uint32
		var schema, name string
		var blocks int64
		var heap, may bool
		_, err = pgx.ForEachRow(rows, []any{&id, &schema, &name, &blocks, &heap, &may}, func() error {
			there++
			whole = whole || t.partitioned && !may
			ranges := []string{""}
			if heap {
				ranges = c.blockRanges(blocks)
			}
			for _, where := range ranges {
				parts = append(parts, copyPart{from: filtered(described, "ONLY "+quote(schema, name), where), table: id})
			}
			return nil
		})
		if err == nil && there < len(leaves) {
			err = &change.AlteredError{Table: t.String(), Err: errOtherLeaves}
		}
		if whole {
			parts = []copyPart{{from: filtered(described, quote(t.Schema, t.Name), ""), table: t.ID}}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return parts, nil
}

// blockRanges cuts a table into ranges of blocks, each a WHERE clause, the last one open.
func (c *Connector) blockRanges(blocks int64) []string {
	size := min(max(partBlocks, blocks/int64(c.opts.CopyConnections*partsPerReader)), maxPartBlocks)
	if blocks <= size {
		return []string{""}
	}
	var parts []string
	for at := int64(0); at < blocks; at += size {
		where := fmt.Sprintf(" WHERE ctid >= '(%d,0)'::tid", at)
		if at+size < blocks {
			where += fmt.Sprintf(" AND ctid < '(%d,0)'::tid", at+size)
		}
		parts = append(parts, where)
	}
	return parts
}

// copyStatement copies one part. What has no binary form that we read comes as
// the text that its type's output function makes; a cast may give another.
func copyStatement(t *change.Table, types []dataType, from string) string {
	var cols []string
	if t.KeyKind == change.NoKey {
		cols = append(cols, "tableoid", "ctid")
	}
	for i, col := range t.Columns {
		name := quote(col.Name)
		if !types[i].native() {
			name = "CASE WHEN num_nulls(" + name + ") = 0 THEN concat(" + name + ") END"
		}
		cols = append(cols, name)
	}
	return "COPY (SELECT " + strings.Join(cols, ", ") + " FROM " + from + ") TO STDOUT (FORMAT binary)"
}

// copier decodes one COPY after another on its connection.
type copier struct {
	wire   *wire
	rows   *rows
	types  []dataType
	at     change.LSN
	limit  int64 // bytes of a batch
	emit   func(*change.Batch) error
	pace   func(bytes int64) error // waits where the source is to be spared; nil: never
	bytes  int64                   // of the rows that wait
	total  int64                   // of all rows
	fields [][]byte                // of the row at hand, nil for NULL
}

// part copies one part. Rolling back lets go of the table's lock, while the
// snapshot stays.
func (cp *copier) part(ctx context.Context, part copyPart) error {
	defer cp.wire.watch(ctx)()
	if err := cp.wire.exec("SAVEPOINT part"); err != nil {
		return interrupted(ctx, err)
	}
	if err := cp.copyRows(copyStatement(cp.rows.table, cp.types, part.from)); err != nil {
		return interrupted(ctx, err)
	}
	if err := cp.unchanged(part); err != nil {
		return interrupted(ctx, err)
	}
	return interrupted(ctx, cp.wire.exec("ROLLBACK TO SAVEPOINT part"))
}

// rewritten finds the files of a table, or of its partitions, that are not those of
// the snapshot: a query sees the catalogs as the snapshot has them, the function sees
// them as they are.
const rewritten = `
	SELECT count(*) FROM (SELECT %[1]d::oid AS oid UNION SELECT relid FROM pg_partition_tree(%[1]d)) t JOIN pg_class c USING (oid)
	WHERE c.relfilenode <> pg_relation_filenode(c.oid)`

// unchanged sees that what was just read of a table is what the snapshot has of it.
// The lock that the copy took still keeps everybody from writing the table anew.
func (cp *copier) unchanged(part copyPart) error {
	n, err := cp.wire.value(fmt.Sprintf(rewritten, part.table))
	file := part.file
	if err == nil && file != "" {
		file, err = cp.wire.value(fmt.Sprintf("SELECT coalesce(pg_relation_filenode(%d)::text, '')", part.table))
	}
	if err != nil {
		return fmt.Errorf("see that the table was not written anew: %w", err)
	}
	if n != "0" || file != part.file {
		return &change.RewrittenError{Table: cp.rows.table.String()}
	}
	return nil
}

// interrupted is the context's error where that is why a read ended.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (cp *copier) copyRows(sql string) error {
	if err := cp.wire.begin(sql, frameCopyOut); err != nil {
		return err
	}
	begun := false
	for {
		kind, body, err := cp.wire.frame()
		switch {
		case err != nil:
			return err
		case kind == frameError:
			return serverError(body)
		case kind == frameCopyDone:
			if err := cp.flush(); err != nil {
				return err
			}
			return cp.wire.ready(frameReady)
		case kind != frameCopyData:
			continue
		}
		if !begun {
			begun = true
			if body, err = cutHeader(body); err != nil {
				return err
			}
		}
		if err := cp.decode(body); err != nil {
			return err
		}
	}
}

// cutHeader removes the header of COPY's binary format.
func cutHeader(b []byte) ([]byte, error) {
	const signature = "PGCOPY\n\377\r\n\x00"
	if len(b) < 19 || string(b[:11]) != signature {
		return nil, errors.New("the copy does not begin with its signature")
	}
	n := int(binary.BigEndian.Uint32(b[15:]))
	if n > len(b)-19 {
		return nil, errMalformed
	}
	return b[19+n:], nil
}

// decode reads the rows of one message: PostgreSQL sends one row in each.
func (cp *copier) decode(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return errMalformed
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		if b = b[2:]; n == -1 { // the end
			return nil
		}
		before := len(b)
		cp.fields = cp.fields[:0]
		for range n {
			if len(b) < 4 {
				return errMalformed
			}
			size := int(int32(binary.BigEndian.Uint32(b)))
			if b = b[4:]; size == -1 {
				cp.fields = append(cp.fields, nil)
				continue
			}
			if size < 0 || size > len(b) {
				return errMalformed
			}
			cp.fields = append(cp.fields, b[:size:size])
			b = b[size:]
		}
		if err := cp.row(); err != nil {
			return err
		}
		if cp.bytes += int64(before - len(b)); cp.bytes >= cp.limit || cp.rows.len() >= copyBatchRows {
			if err := cp.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// row appends the row at hand.
func (cp *copier) row() error {
	r, fields := cp.rows, cp.fields
	var table, ctid []byte
	if r.keys != nil {
		if len(fields) < 2 || len(fields[0]) != 4 || len(fields[1]) != 6 {
			return errMalformed
		}
		table, ctid, fields = fields[0], fields[1], fields[2:]
		r.keyBuf = appendCopyKey(r.keyBuf[:0], cp.at, table, ctid)
		r.keys.BinaryBuilder.Append(r.keyBuf)
	}
	if len(fields) != len(r.cols) {
		return fmt.Errorf("the copy has %d columns and not %d", len(fields), len(r.cols))
	}
	for i, v := range fields {
		c := &r.cols[i]
		read := c.text
		if cp.types[i].native() {
			read = c.binary
		}
		if err := r.take(i, c.put(v, read)); err != nil {
			return &ValueError{Table: r.table.String(), Column: r.table.Columns[i].Name, Key: cp.keyText(fields, table, ctid), Err: err}
		}
	}
	r.reject(func(i int) ([]byte, form) {
		if cp.types[i].native() {
			return fields[i], coded
		}
		return fields[i], printed
	})
	r.ops = append(r.ops, change.Read)
	return nil
}

// appendCopyKey is the record key of a copied row of a table without a key:
// snapshot's LSN, table, block and place in the block, in hexadecimal digits: 16, 8, 8 and 4.
func appendCopyKey(dst []byte, at change.LSN, table, ctid []byte) []byte {
	return fmt.Appendf(dst, "%016x-%x-%x-%x", uint64(at), table, ctid[:4], ctid[4:])
}

// flush emits what was collected.
func (cp *copier) flush() error {
	n, bytes := cp.rows.len(), cp.bytes
	cp.total += bytes
	if cp.bytes = 0; n == 0 {
		return nil
	}
	if cp.pace != nil {
		if err := cp.pace(bytes); err != nil {
			return err
		}
	}
	cp.rows.at = slices.Repeat([]change.Position{{Commit: cp.at}}, n)
	cp.rows.times, cp.rows.xids = make([]int64, n), make([]uint32, n)
	return cp.emit(cp.rows.flush())
}
