package hudi

import (
	"cmp"
	"path"
	"strconv"

	"lakefeed/hudi/timeline"
)

// version6 is the version that this package writes.
const version6 = "6"

// checkVersion refuses tables of versions that are not known here, and those whose
// timeline is not of the layout of their version.
func (p Properties) checkVersion() error {
	switch v := p[propVersion]; v {
	case version6, "8", "9":
	default:
		return &UnsupportedError{"table version", v, "versions 6, 8 and 9 are known here, which Hudi 0.14 to 1.2 write: " +
			"open the table once with a writer of Spark's with Hudi 1.2, which upgrades older ones to version 9"}
	}
	want := strconv.Itoa(int(p.layout()))
	if l := p[propLayout]; l != "" && l != want {
		return &UnsupportedError{"timeline layout", l, "a table of version " + p[propVersion] + " has layout " + want + ": " + propertiesFile + " contradicts itself"}
	}
	return nil
}

// checkSameVersion notices that a table was taken to another version.
func (t *Table) checkSameVersion(p Properties) error {
	if p[propVersion] == t.props[propVersion] && p.timelineFolder() == t.timelineAt {
		return nil
	}
	return &UnsupportedError{"table version", p[propVersion], "the table was of version " + t.props[propVersion] + " when it was opened here: " +
		"open it anew to read it; to have it written by this package, let Spark take it back to version 6"}
}

// checkVersionWritable refuses tables of versions that are read only.
func (p Properties) checkVersionWritable() error {
	if v := p[propVersion]; v != version6 {
		return &UnsupportedError{"table version", v, "it is read here, but only version 6 is written; " +
			"Spark with Hudi 1.2 takes a table back to it: CALL downgrade_table(table => '" + p[propName] + "', to_version => 'SIX')"}
	}
	return nil
}

// layout is that of the timeline of a table of this version.
func (p Properties) layout() timeline.Layout {
	if p[propVersion] == version6 {
		return timeline.Layout1
	}
	return timeline.Layout2
}

// timelineFolder is where the files of the timeline are.
func (p Properties) timelineFolder() string {
	if p.layout() == timeline.Layout1 {
		return metaFolder
	}
	return path.Join(metaFolder, cmp.Or(p[propTimeline], "timeline"))
}
