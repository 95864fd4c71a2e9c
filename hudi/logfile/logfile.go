// Package logfile writes and reads Hudi's log files, which hold the changes of a
// merge-on-read file group since its base file.
//
// A log file is a row of blocks. [Writer] appends data, delete and rollback blocks
// to a stream, [Reader] finds them again and steps over damaged ones. [Encoder]
// turns rows of Arrow record batches into the Avro records of a data block,
// [Decoder] turns these into rows of a [array.RecordBuilder], in the schema that
// the reader wants.
//
//	w := logfile.NewWriter(file)
//	for row := range int(batch.NumRows()) {
//		content, err = enc.Append(content, batch, row)
//	}
//	err = w.Data(logfile.Header{Instant: instant, Schema: avro}, content, rows)
//
// All integers of the framing are big-endian:
//
//	6  magic "#HUDI#"
//	8  length of the block from here to its end
//	4  format version, 1
//	4  block type
//	H  header: count, then key, length and text of each entry
//	8  length of the content
//	C  content
//	F  footer, of the header's shape; empty
//	8  length of the whole block without this field
package logfile

import "fmt"

const (
	magic         = "#HUDI#"
	formatVersion = 1
	// frame is what a block takes beside header, content and footer.
	frame = len(magic) + 8 + 4 + 4 + 8 + 8
	// contentVersion is the version of data and delete contents of table versions 6 and later.
	contentVersion = 3
)

// BlockType says what a block holds.
type BlockType int32

// The types of a block. Corrupt never stands in a file: the reader calls damaged
// bytes so.
const (
	Command BlockType = iota
	Delete
	Corrupt
	AvroData
	HFileData
	ParquetData
	CDCData
)

// String returns Hudi's word for the type.
func (t BlockType) String() string {
	if t < 0 || int(t) >= len(blockTypes) {
		return fmt.Sprintf("block type %d", int32(t))
	}
	return blockTypes[t]
}

var blockTypes = [...]string{"command", "delete", "corrupt", "avro data", "hfile data", "parquet data", "cdc data"}

// HeaderKey names an entry of a block's header.
type HeaderKey int32

// The entries of a header.
const (
	InstantTime HeaderKey = iota
	TargetInstantTime
	Schema
	CommandBlockType
	CompactedBlockTimes
	RecordPositions
	BlockIdentifier
	IsPartial
	BaseFileInstantTimeOfRecordPositions
)

// rollbackCommand is the CommandBlockType of a rollback, Hudi's only command.
const rollbackCommand = "0"

// Header is what a writer states about a block.
type Header struct {
	Instant string // of the delta commit that writes the block
	Schema  string // Avro schema of the records, meta columns included
}
