package timeline

import (
	"encoding/json"
	"reflect"
	"testing"
)

// checkJSON finds all that data has in what m writes, except for what tells nothing.
func checkJSON(t *testing.T, name string, data []byte, m *CommitMetadata) {
	t.Helper()
	again, err := m.Encode()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var want, got any
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &got); err != nil {
		t.Fatal(err)
	}
	if want, got = said(want), said(got); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v\nwant %v", name, got, want)
	}
}

// unkept are fields of Hudi's statistics about log blocks that WriteStat does without.
var unkept = map[string]bool{
	"totalValidLogBlocks": true, "totalLogBlocksSize": true, "totalLogBlocksScanTimeMs": true, "recordsStats": true,
}

// said is v without zeros, nulls and empty texts in its objects.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil || e == 0.0 || e == int64(0) || e == int32(0) || e == "" || unkept[k] {
				delete(v, k)
				continue
			}
			v[k] = said(e)
		}
	case []any:
		for i, e := range v {
			v[i] = said(e)
		}
	}
	return v
}
