package change

import "fmt"

// CopyChunk is a part of a table that is copied by itself: blocks of the table, or of one
// of its partitions.
type CopyChunk struct {
	Table uint32 `json:"table"`          // the source's number for the table or the partition
	Name  string `json:"name"`           // its name, for people
	File  string `json:"file,omitempty"` // another one after every row of it was written anew
	Whole bool   `json:"whole,omitempty"`
	// From and To are the first block and the one behind the last; To ToEnd: up to the end,
	// wherever that is. With Whole they say nothing.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Blocks, Rows and Bytes are estimates; Bytes are those to be sent, which values outside
	// of the blocks count for and empty blocks do not.
	Blocks int64 `json:"blocks,omitempty"`
	Rows   int64 `json:"rows"`
	Bytes  int64 `json:"bytes"`
	// Until, of one that was read: it shows all that commits before the snapshot, and may show
	// what commits before this position too; 0: it shows the snapshot, exactly.
	Until LSN `json:"until,omitzero"`
}

// ToEnd is the end of a chunk that has all blocks from its first one on.
const ToEnd int64 = -1

// String names the chunk, for people.
func (c CopyChunk) String() string {
	switch {
	case c.Whole:
		return c.Name
	case c.To == ToEnd:
		return fmt.Sprintf("%s, blocks %d and on", c.Name, c.From)
	}
	return fmt.Sprintf("%s, blocks %d to %d", c.Name, c.From, c.To-1)
}

// CopyPlan is the chunks of a table, which are together all of it.
type CopyPlan struct {
	Chunks []CopyChunk `json:"chunks"`
	Rows   int64       `json:"rows"`  // estimate
	Bytes  int64       `json:"bytes"` // estimate
	Size   int64       `json:"size"`  // on the source's disk, without indexes
}
