package basefile

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// CheckStatistics reads every page of a base file and compares its values with what the
// footer and the indexes of pages state of them: a reader with a filter passes over
// what these say it need not read. It returns the first statement that does not hold, ""
// where all do. Of columns in encodings that it does not know, and of those in lists and maps, it compares the bytes with
// their checksums only.
func CheckStatistics(ctx context.Context, r io.ReaderAt, size int64) (wrong string, err error) {
	defer recoverParquet("check", &err)
	f, err := openParquet(r, size)
	if errors.Is(err, errNoCopy) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open base file: %w", err)
	}
	for g := range f.meta.RowGroups {
		for c := range f.leaves {
			l := &f.leaves[c]
			l.maybeEmpty = false // what is stated is looked at
			if wrong, err = "", errNoCopy; l.maxRep == 0 && l.compare != nil {
				wrong, err = f.checkChunkStats(ctx, g, c)
			}
			if wrong != "" {
				return fmt.Sprintf("column %s of row group %d: %s", l.path, g, wrong), nil
			}
			if errors.Is(err, errNoCopy) {
				err = f.checkPages(ctx, g, c)
			}
			if err != nil {
				return "", fmt.Errorf("read base file: column %s of row group %d: %w", l.path, g, err)
			}
		}
	}
	return "", nil
}

func (f *File) checkChunkStats(ctx context.Context, g, c int) (wrong string, err error) {
	p, err := f.pages(g, c)
	if err != nil {
		return "", err
	}
	dict, _, err := p.readDictionary()
	if err != nil {
		return "", err
	}
	sum := valueStats{}
	for i := range p.pages {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		page, _, err := p.read(&p.pages[i], dict)
		if err != nil {
			return "", err
		}
		s, err := p.l.pageStats(&page, dict)
		if err != nil {
			return "", err
		}
		if stated := p.pages[i].stats; stated != nil {
			if wrong := p.l.beyond(*stated, s); wrong != "" {
				return fmt.Sprintf("page %d %s", i, wrong), nil
			}
		}
		sum.merge(p.l, s)
	}
	if wrong = p.l.beyond(p.l.chunkStats(p.meta), sum); wrong != "" {
		wrong = "it " + wrong
	}
	return wrong, nil
}

// beyond tells which values are not within what is stated of them.
func (l *leaf) beyond(stated, s valueStats) string {
	switch {
	case stated.nulls >= 0 && stated.nulls != s.nulls:
		return fmt.Sprintf("has %d nulls, and its statistics say %d", s.nulls, stated.nulls)
	case s.min == nil || stated.unknown:
		return ""
	case stated.min == nil:
		return "has values, and its statistics say none"
	case l.compare(stated.min, s.min) > 0:
		return fmt.Sprintf("has %.40q, and its statistics say that %.40q is the least", s.min, stated.min)
	case l.compare(stated.max, s.max) < 0:
		return fmt.Sprintf("has %.40q, and its statistics say that %.40q is the greatest", s.max, stated.max)
	default:
		return ""
	}
}
