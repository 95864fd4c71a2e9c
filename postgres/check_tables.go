package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// tables looks at the tables that would be read.
func (k *checker) tables(ctx context.Context) error {
	all, err := k.lookAll(ctx, k.tx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		k.add(Error, "", "", "no table is taken: the pipeline's entries match none of database %s that role %s can see", k.database, k.user)
	}
	ids := make([]uint32, len(all))
	for i, t := range all {
		ids[i] = t.ID
	}
	rights, err := k.rights(ctx, ids)
	if err != nil {
		return err
	}
	heirs, err := k.heirs(ctx, ids)
	if err != nil {
		return err
	}
	for _, t := range all {
		k.access(t, rights[t.ID])
		k.shape(t)
		if names := heirs[t.ID]; names != "" {
			k.add(Warning, t.String(), "", "tables inherit from it (%s): their rows, which a SELECT from it shows, do not land with it but with tables of their own, where an entry takes these", names)
		}
	}
	return nil
}

// heirs names the tables that inherit from one and are no partitions of it.
func (k *checker) heirs(ctx context.Context, ids []uint32) (map[uint32]string, error) {
	rows, err := k.tx.Query(ctx, `
		SELECT i.inhparent, string_agg(format('%s.%s', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname)
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE i.inhparent = ANY ($1::oid[]) AND NOT c.relispartition GROUP BY i.inhparent`, ids)
	if err != nil {
		return nil, err
	}
	out := map[uint32]string{}
	var id uint32
	var names string
	_, err = pgx.ForEachRow(rows, []any{&id, &names}, func() error { out[id] = names; return nil })
	return out, err
}

// tableRights is what the role may do with a table.
type tableRights struct {
	id                   uint32
	schema, read, owner  bool
	rowSecurity          bool
	ownerName            string
	published, appending bool // it is in the publication already
}

func (k *checker) rights(ctx context.Context, ids []uint32) (map[uint32]tableRights, error) {
	rows, err := k.tx.Query(ctx, `
		SELECT c.oid, has_schema_privilege(c.relnamespace, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), pg_has_role(c.relowner, 'USAGE'),
			row_security_active(c.oid), pg_get_userbyid(c.relowner),
			EXISTS (SELECT FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid WHERE prrelid = c.oid AND pubname = $2),
			EXISTS (SELECT FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid WHERE prrelid = c.oid AND pubname = $3)
		FROM pg_class c WHERE c.oid = ANY ($1::oid[])`, ids, k.slot, k.slot+appendSuffix)
	if err != nil {
		return nil, err
	}
	out := map[uint32]tableRights{}
	var r tableRights
	_, err = pgx.ForEachRow(rows, []any{&r.id, &r.schema, &r.read, &r.owner, &r.rowSecurity, &r.ownerName, &r.published, &r.appending}, func() error {
		out[r.id] = r
		return nil
	})
	return out, err
}

// access is about what the role may not do.
func (k *checker) access(t *catalogTable, r tableRights) {
	name, user, table := t.String(), quote(k.user), quote(t.Schema, t.Name)
	if !r.schema {
		k.add(Error, name, "GRANT USAGE ON SCHEMA "+quote(t.Schema)+" TO "+user, "role %s may not use schema %s", k.user, t.Schema)
	}
	if !r.read {
		k.add(Error, name, "GRANT SELECT ON "+table+" TO "+user, "role %s may not read it", k.user)
	}
	if there := r.published && t.KeyKind != change.NoKey || r.appending && t.KeyKind == change.NoKey; !there && !r.owner {
		k.add(Error, name, "GRANT "+quote(r.ownerName)+" TO "+user, "role %s may not publish it: only its owner, %s, may", k.user, r.ownerName)
	}
	if r.rowSecurity {
		k.add(Error, name, "ALTER ROLE "+user+" BYPASSRLS", "row security hides rows of it from role %s", k.user)
	}
}

// shape is about what a reader of the lake may not expect.
func (k *checker) shape(t *catalogTable) {
	name, table := t.String(), quote(t.Schema, t.Name)
	if t.KeyKind == change.NoKey {
		mend := "ALTER TABLE " + table + " ADD PRIMARY KEY (...)"
		switch {
		case t.identity == "n" || t.identity == "i":
			mend = "ALTER TABLE " + table + " REPLICA IDENTITY DEFAULT"
		case t.lateKey != "":
			mend = "ALTER TABLE " + table + " " + t.lateKey
		}
		k.add(Warning, name, mend, "it lands append-only, its UPDATEs and DELETEs are not replicated: %s", t.Note)
	}
	if len(t.generated) > 0 {
		k.add(Warning, name, "", "generated columns are not in the log and are left out: %s", strings.Join(t.generated, ", "))
	}
	if t.publisher != "" {
		what := fmt.Sprintf("columns (%s)", columnList(t.Left))
		switch {
		case t.Filter != "" && len(t.Left) > 0:
			what += " and the rows that are not " + t.Filter
		case t.Filter != "":
			what = "the rows that are not " + t.Filter
		}
		k.add(Warning, name, "", "the publication, which role %s made, leaves out %s of it: they do not land", t.publisher, what)
	}
	if t.partitioned && t.KeyKind == change.NoKey {
		k.add(Warning, name, "", "it is partitioned and lands append-only: rows that go with a TRUNCATE, DETACH or DROP of a single partition stay in the lake")
	}
	if t.foreign {
		k.add(Warning, name, "", "a partition is a foreign table: its rows are left out")
	}
	if t.partition {
		k.add(Warning, name, "", "it is a partition: rows that move to or from its siblings arrive as inserts and deletes")
	}
}

// skipped names what is matched and has no changes in the log.
func (k *checker) skipped(ctx context.Context) error {
	rows, err := k.tx.Query(ctx, `
		SELECT n.nspname, c.relname, CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' ELSE 'unlogged' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE (c.relkind IN ('v', 'm', 'f') OR c.relkind = 'r' AND c.relpersistence = 'u')
			AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
		ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	var schema, name, what string
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &what}, func() error {
		if k.opts.Match(schema, name) {
			mend := ""
			if what == "unlogged" {
				mend = "ALTER TABLE " + quote(schema, name) + " SET LOGGED"
			}
			k.add(Warning, schema+"."+name, mend, "it is %s: nothing of it is in the log, and it is left out", what)
		}
		return nil
	})
	return err
}
