package postgres

import (
	"testing"
)

// FuzzValue reads bytes as a value of every kind, in binary and as text: it may fail, and
// appends one value whatever comes.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{"", "t", "\x00\x00\x00\x01", "{1,NULL}", `[0:1]={"a","b"}`, `(1,"x")`, "\x00\x00\x00\x02\x00\x00\x00\x17\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x19\xff\xff\xff\xff", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x07"} {
		f.Add([]byte(seed))
	}
	var types []dataType
	for k := range list {
		if k == embedding || k == halfEmbedding || k == geometry {
			types = append(types, dataType{kind: k, landing: nested})
		}
		types = append(types, dataType{kind: k}, dataType{kind: k, landing: asText})
	}
	pair := dataType{kind: composite, landing: nested, attributes: []attributeType{{"a", 23, dataType{kind: int4}}, {"b", 25, dataType{kind: text}}}}
	numbers := dataType{kind: list, comma: ',', landing: nested, elem: &dataType{kind: int4}}
	flat := numbers
	flat.landing = plain
	pairs := dataType{kind: list, comma: ',', elem: &pair}
	spans := dataType{kind: rangeOf, elem: &dataType{kind: text}}
	types = append(types, pair, numbers, flat, pairs, spans, dataType{kind: multirange, elem: &spans},
		dataType{kind: list, comma: ',', landing: nested, elem: &pair}, dataType{kind: composite, landing: asText, attributes: pair.attributes})
	f.Fuzz(func(t *testing.T, v []byte) {
		for i := range types {
			c := newColumn(&types[i])
			_ = c.put(v, c.binary)
			_ = c.put(v, c.text)
			if a := c.NewArray(); a.Len() != 2 {
				t.Fatalf("%d values of %+v", a.Len(), types[i])
			}
		}
	})
}
