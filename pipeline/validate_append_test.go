package pipeline_test

import (
	"testing"

	"lakefeed/pipeline"
)

// TestValidateAppendOnly takes what the source has deleted of a table without a key for
// no difference, and what the lake lacks for one.
func TestValidateAppendOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (v text)", "insert into t values ('a'), ('a'), ('b')")
	compare := func() pipeline.TableReport {
		t.Helper()
		report, err := r.validation(nil)
		if err != nil {
			t.Fatal(err)
		}
		return report.Tables[0]
	}
	r.drain()
	if got := compare(); !got.OK() || got.LakeOnly != 0 {
		t.Errorf("inserts only: %+v", got)
	}
	r.db.Exec(t, "delete from t where ctid = (select min(ctid) from t)")
	if got := compare(); !got.OK() || got.LakeOnly != 1 || got.LakeRows != 3 || got.SourceRows != 2 {
		t.Errorf("after a delete: %+v", got)
	}
	r.db.Exec(t, "update t set v = 'c' where v = 'b'")
	if got := compare(); got.OK() || got.Different != 1 || got.LakeOnly != 2 {
		t.Errorf("after an update: %+v", got)
	}
}
