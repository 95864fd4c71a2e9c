package config_test

import (
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
)

const policyText = `pipelines:
  - name: shop
    source: {postgres: {url: "postgres://u@h/d"}}
    schema: pause
    tables:
      - match: public.listed
        schema: {policy: freeze, columns: [a, b]}
        types: {columns: {a: {out_of_range: quarantine}}}
      - match: public.grown
        schema: evolve
      - match: public.*
    lake: {url: /lake}
`

// TestSchemaPolicy reads policies of the pipeline and of its tables.
func TestSchemaPolicy(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("f", []byte(policyText), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]pipeline.SchemaPolicy{"listed": pipeline.FreezeSchema, "grown": pipeline.EvolveSchema, "other": pipeline.PauseSchema} {
		if got := c.Pipelines[0].Table(&change.Table{Schema: "public", Name: name}).Schema; got.Policy != want || len(got.Columns) != map[string]int{"listed": 2}[name] {
			t.Errorf("%s: %+v", name, got)
		}
	}
	rules := c.Pipelines[0].Table(&change.Table{Schema: "public", Name: "listed"}).Schema.Quarantine
	if !rules("a") || rules("b") {
		t.Error("quarantine is not that of the column")
	}
	for text, says := range map[string]string{
		"schema: stop":                            `"stop" is none of`,
		"schema: {columns: [a]}":                  "policy: is missing",
		"schema: {policy: evolve, columns: [a]}":  "write policy: freeze",
		"schema: {policy: freeze, coloumns: [a]}": "columns",
	} {
		_, err := config.Parse("f", []byte(strings.Replace(policyText, "schema: evolve", text, 1)), nil)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
