package hudi

import "fmt"

// restrict lets a reader that has not begun read these row groups only.
func (b *baseReader) restrict(groups []int) (err error) {
	defer recoverParquet("open", &err)
	b.read = b.numRows()
	for _, g := range groups {
		b.read -= b.parquet.MetaData().RowGroup(g).NumRows()
	}
	if err := b.openGroups(groups); err != nil {
		return fmt.Errorf("read base file: %w", err)
	}
	return nil
}
