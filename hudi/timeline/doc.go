// Package timeline knows the files of a Hudi table's timeline: their names, what the
// names together say about the table's instants, and what the files contain.
//
// It covers layout 1 of the timeline, which tables of version 6 have. It works on names
// and bytes; where they are stored is the caller's business.
package timeline
