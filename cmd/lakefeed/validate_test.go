package main

import (
	"strings"
	"testing"

	"lakefeed/pipeline"
)

func TestReportAppendOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		table pipeline.TableReport
		want  []string
	}{
		"inserts only": {pipeline.TableReport{LakeRows: 2, SourceRows: 2}, []string{"equal         t: 2 rows, append-only\n"}},
		"a delete":     {pipeline.TableReport{LakeRows: 3, SourceRows: 2, LakeOnly: 1}, []string{"append-only   t: 3 rows; the source has changed or deleted 1 row since; every row that the source has is in the lake"}},
		"an update":    {pipeline.TableReport{LakeRows: 2, SourceRows: 2, LakeOnly: 1, Different: 1}, []string{"DIFFERENT     t, append-only: differences in 1 row", "at most 1 of them"}},
		"a lost row":   {pipeline.TableReport{LakeRows: 1, SourceRows: 2, Different: 1}, []string{"DIFFERENT     t, append-only"}},
	} {
		c.table.Table, c.table.AppendOnly = "t", true
		text := reportText(&pipeline.Report{Tables: []pipeline.TableReport{c.table}}, "pipeline p")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not say %q", name, text, want)
			}
		}
		if strings.Contains(text, "can be what the source has updated") != (c.table.Different > 0 && c.table.LakeOnly > 0) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestTableFilter(t *testing.T) {
	t.Parallel()
	only, err := tableFilter([]string{"shop.orders", "log.*"})
	if err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]bool{"shop.orders": true, "log.any": true, "shop.items": false} {
		if only(table) != want {
			t.Errorf("%s is taken: %t", table, !want)
		}
	}
}
