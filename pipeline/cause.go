package pipeline

import (
	"errors"
	"strings"
)

// TableErrors are the tables that stopped. Its text names a cause once, with all of
// the tables that it stopped.
type TableErrors []*TableError

// Error has a line for each cause.
func (e TableErrors) Error() string {
	var causes causes
	for _, t := range e {
		causes.add(t.Table, t.Err.Error(), t.Error())
	}
	return strings.Join(causes.lines("table "), "\n")
}

// Unwrap is the errors.
func (e TableErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, t := range e {
		errs[i] = t
	}
	return errs
}

// joinTables is the error of tables that stopped, nil where there is none.
func joinTables(errs []*TableError) error {
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(TableErrors(errs))
}

// StopTexts say of the tables that stopped since when and why: one that stopped for
// a cause of its own as [TableStatus.StopText], those of one cause together.
func StopTexts(tables []TableStatus) []string {
	var causes causes
	for i := range tables {
		if t := &tables[i]; t.Error != "" && !t.Since.IsZero() {
			causes.add(t.Table, t.Error, t.StopText())
		}
	}
	return causes.lines("")
}

// cause is why tables stopped.
type cause struct {
	why    string // where a table names itself there, without the name
	alone  string // the text of the first, where no other joins it
	tables []string
}

// causes are in the order of their first tables.
type causes []*cause

func (c *causes) add(table, why, alone string) {
	why = strings.NewReplacer(table, "the table", strings.Replace(table, ".", "/", 1), "(the table's folder)").Replace(why)
	for _, k := range *c {
		if k.why == why {
			k.tables = append(k.tables, table)
			return
		}
	}
	*c = append(*c, &cause{why, alone, []string{table}})
}

func (c causes) lines(noun string) []string {
	lines := make([]string, len(c))
	for i, k := range c {
		lines[i] = k.alone
		if len(k.tables) > 1 {
			lines[i] = strings.Replace(noun, " ", "s ", 1) + strings.Join(k.tables, ", ") + ": " + k.why
			if noun == "" {
				lines[i] = strings.Join(k.tables, ", ") + " stopped: " + k.why
			}
		}
	}
	return lines
}
