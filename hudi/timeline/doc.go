// Package timeline knows the files of a Hudi table's timeline: their names, what the
// names together say about the table's instants, and what the files contain.
//
// It covers layout 1 of the timeline, which tables of version 6 have, and layout 2, of
// versions 8 and 9. It works on names and bytes; where they are stored is the caller's
// business.
//
// Names: instant.go, timeline.go, time.go. Contents: commit.go and write_stat.go (JSON in
// layout 1, Avro in layout 2), and the Avro records of the other actions, a file each;
// record.go is how one is read and written. archive.go is what the archived timeline of
// layout 1 keeps of a file.
package timeline
