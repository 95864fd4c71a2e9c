package pipeline_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/hudi"
	"lakefeed/pipeline"
)

// endReaders is what ends the sessions that read a copy of the database.
const endReaders = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'"

// TestChunkCopyUnpublished takes a table out of the publication while it is copied in chunks, and deletes rows
// of which the log then has nothing: it is seen by the next try, where the copy is interrupted, and else before
// the commit.
func TestChunkCopyUnpublished(t *testing.T) {
	t.Parallel()
	for name, tries := range map[string]int{"within a try": 1, "between two tries": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, toasted...)
			r.cutAt("chunk noted", 3, nil, chunky)
			var noted, merges atomic.Int32
			var once sync.Once
			run := r.start(chunky, func(o *options) {
				o.OnPhase = func(phase string) {
					switch {
					case phase == "chunk noted" && noted.Add(1) >= 3: // those who read beside it wait
						once.Do(func() {
							r.changePublication("alter publication P drop table t")
							r.db.Exec(t, "delete from t where id % 9 = 0") // an update may move a row, so that it is there twice
							if tries == 2 {
								r.db.Exec(t, endReaders)
							} else {
								r.changePublication("alter publication P add table only t")
							}
						})
					case phase == "merge":
						merges.Add(1)
					}
				}
			})
			r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
			r.equal(run)
			if n := merges.Load(); n != 1 {
				t.Errorf("%d copies were merged", n)
			}
		})
	}
}

// TestTakeOverUnpublished takes a table out of the publication while its take-over waits, and changes a row: it
// begins anew, from a later position.
func TestTakeOverUnpublished(t *testing.T) {
	t.Parallel()
	r := newRig(t, streamerTable, fmt.Sprintf(streamerRows, 1, 30))
	s := newStreamer(r, hudi.CopyOnWrite)
	s.sync("true")
	run := r.start()
	run.adopt(pipeline.Adoption{})
	run.waits("goes on until it has passed")
	s.sync("true")
	r.changePublication("alter publication P drop table t")
	r.db.Exec(t, "update t set v = 'unseen' where id = 3")
	r.changePublication("alter publication P add table only t")
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.waits("has to pass")
	s.sync("true")
	s.end()
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.takenOver()
	r.equal(run)
}
