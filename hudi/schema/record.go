package schema

import (
	"fmt"
	"sync"

	"github.com/twmb/avro"
)

// maxRecords bounds the schemas that are kept parsed.
const maxRecords = 64

// records keeps parsed schemas by their text: every log block and every commit of
// a table repeats the table's.
var records = struct {
	sync.Mutex
	byText map[string][]avro.SchemaField
}{byText: map[string][]avro.SchemaField{}}

// Record returns the columns of an Avro record schema, all names resolved. They
// are shared between callers: read them only.
func Record(avroJSON string) ([]avro.SchemaField, error) {
	records.Lock()
	fields, ok := records.byText[avroJSON]
	records.Unlock()
	if ok {
		return fields, nil
	}
	s, err := avro.Parse(avroJSON)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	root := s.Root().ExpandReferences()
	if root.Type != "record" {
		return nil, fmt.Errorf("parse schema: a %s, not a record", root.Type)
	}
	records.Lock()
	defer records.Unlock()
	if len(records.byText) >= maxRecords {
		clear(records.byText)
	}
	records.byText[avroJSON] = root.Fields
	return root.Fields, nil
}
