package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/pipeline"
)

// publicationChanges are what somebody may do to the pipeline's publication P that
// keeps changes of table t from the log's reader, at the end or for a moment.
var publicationChanges = map[string]string{
	"options":      "alter publication P set (publish = 'insert')",
	"options back": "alter publication P set (publish = 'insert'); alter publication P set (publish = 'insert, update, delete, truncate')",
	"root":         "alter publication P set (publish_via_partition_root = false)",
	"taken out":    "alter publication P drop table t",
	"and back":     "begin; alter publication P drop table t; alter publication P add table only t; commit",
	"columns":      "alter publication P drop table t; alter publication P add table t (id)",
	"filter":       "alter publication P drop table t; alter publication P add table t where (id > 5)",
}

func (r *rig) changePublication(sql string) {
	r.t.Helper()
	r.db.Exec(r.t, strings.Split(strings.ReplaceAll(sql, " P ", fmt.Sprintf(" %q ", r.slot())), "; ")...)
}

// TestPublicationChanged stops a table whose publication is changed: at once where the
// pipeline runs, else at the next start, and at every one until it is copied anew.
func TestPublicationChanged(t *testing.T) {
	t.Parallel()
	for name, sql := range publicationChanges {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, running %t", name, running), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
				r.drain()
				if !running {
					r.changePublication(sql)
				}
				run := r.start()
				if running {
					r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
					r.changePublication(sql)
				}
				r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
				r.says(errors.New(run.table("public.t").Error), "publi", "copied anew")
				others := strings.HasPrefix(name, "options") || name == "root"
				r.await("the other", func() bool { return others == (run.table("public.other").State == pipeline.Failed) })
				run.stop()
				r.says(r.once(), "public.t", "copied anew")
			})
		}
	}
}

// TestPublicationOurs lets pass what the pipeline does to its publication by itself,
// and what keeps no change from anybody.
func TestPublicationOurs(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table lost (id int primary key)", "insert into t values (1, 'a')")
	r.drain()
	r.db.Exec(t, "create table later (id int primary key)")
	r.drain()
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter table lost drop constraint lost_pkey", fmt.Sprintf("alter publication %q owner to pg_database_owner", r.slot()))
	r.await("the keyless one is moved", func() bool { return run.table("public.lost").State == pipeline.Failed })
	if why := run.table("public.lost").Error; !strings.Contains(why, "key") || strings.Contains(why, "somebody") {
		t.Errorf("it stopped because %s", why)
	}
	r.passLook(run)
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into later values (3)")
	r.await("the others go on", func() bool { return r.column("t", "id") == "1 2" && r.column("later", "id") == "3" })
	run.stop()
	if err := r.once(); err == nil || strings.Contains(err.Error(), "public.t:") || strings.Contains(err.Error(), "public.later:") {
		t.Errorf("after another start: %v", err)
	}
}

// TestPublicationChangedUnderLoad changes how a table is published that has rows in every round, each of
// which goes beyond the newest look at the catalogs.
func TestPublicationChangedUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	conn, ctx := r.db.Conn(t), t.Context()
	var load sync.WaitGroup
	stop := make(chan struct{})
	load.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := conn.Exec(ctx, "insert into t values ($1, 'x')", i); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer load.Wait()
	defer close(stop)
	r.changePublication("alter publication P set (publish = 'insert')")
	r.passLook(run)
	r.says(errors.New(run.table("public.t").Error), "somebody changed how public.t is published", "copied anew")
}
