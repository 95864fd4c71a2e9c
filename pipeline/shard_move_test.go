package pipeline_test

import (
	"fmt"
	"testing"
	"time"
)

// TestShardsMoveInOneCommit moves a row from a shard that had it for a moment only to another: the commit that both share
// has a delete of the one and the row of the other under one key, and the row must stay.
func TestShardsMoveInOneCommit(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key)")
	r.inKey = false
	r.exec("eu", "insert into items values (1)")
	r.exec("us", "insert into items values (2)")
	r.mods = append(r.mods, func(o *options) { o.Interval = 2 * time.Second })
	runs := r.start()
	r.streaming(runs, "items")
	want := []string{"eu 1", "us 2"}
	for key := 3; ; key++ { // until both came in one commit
		_, before := r.checkpoints("items")
		r.exec("eu", fmt.Sprintf("insert into items values (%d); delete from items where id = %d", key, key))
		r.exec("us", fmt.Sprintf("insert into items values (%d)", key))
		r.equal(runs)
		want = append(want, fmt.Sprintf("us %d", key))
		r.want("items", "db_shard_source_partition id", want...)
		if _, after := r.checkpoints("items"); after == before+1 {
			return
		}
		if key == 9 {
			t.Fatal("the shards never met in one commit")
		}
	}
}
