package pipeline

import (
	"context"
	"errors"
	"io"
	"sync"

	"lakefeed/storage"
)

// Many runs are read side by side, each front to back: of each a piece is in memory, and the next one
// comes meanwhile, so that a store far away is asked for all of them at once.

// leastBlock is how much a store that is far away is asked for at once at least: a reader of S3 keeps
// windows of its own, which grow, where it is asked for less.
const leastBlock = 128 << 10

// aheadReader reads a part of a file.
type aheadReader struct {
	file    storage.Reader
	at, end int64 // what is to be fetched
	size    int64 // of a piece
	piece   []byte
	next    chan fetched // the piece behind; nil: there is none
}

type fetched struct {
	piece []byte
	err   error
}

func readAhead(file storage.Reader, from, size, block int64) *aheadReader {
	r := &aheadReader{file: file, at: from, end: from + size, size: block}
	r.fetch()
	return r
}

// fetch begins to fetch a piece.
func (r *aheadReader) fetch() {
	if r.next = nil; r.at >= r.end {
		return
	}
	at, n := r.at, min(r.size, r.end-r.at)
	whole := min(max(n, leastBlock), max(r.file.Size()-at, n))
	r.at += n
	next := make(chan fetched, 1)
	r.next = next
	go func() {
		piece := make([]byte, whole)
		got, err := r.file.ReadAt(piece, at)
		if int64(got) >= n || errors.Is(err, io.EOF) {
			err = nil
		}
		next <- fetched{piece[:min(int64(got), n)], err}
	}()
}

// Read reads on. Behind an error it is not called again.
func (r *aheadReader) Read(b []byte) (int, error) {
	for len(r.piece) == 0 {
		if r.next == nil {
			return 0, io.EOF
		}
		got := <-r.next
		if r.next = nil; got.err != nil {
			return 0, got.err
		}
		if r.piece = got.piece; len(r.piece) == 0 { // the file is shorter
			r.at = r.end
		}
		r.fetch()
	}
	n := copy(b, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// close waits for what is being fetched.
func (r *aheadReader) close() {
	if r.next != nil {
		<-r.next
	}
	r.next, r.piece, r.at = nil, nil, r.end
}

// sharedFile is a file that is open as long as somebody reads it.
type sharedFile struct {
	store storage.Store
	name  string

	mu      sync.Mutex // guards what follows
	file    storage.Reader
	readers int
}

func (f *sharedFile) open(ctx context.Context) (storage.Reader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		file, err := f.store.Open(ctx, f.name)
		if err != nil {
			return nil, err
		}
		f.file = file
	}
	f.readers++
	return f.file, nil
}

func (f *sharedFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers--; f.readers == 0 {
		_ = f.file.Close() // it was only read
		f.file = nil
	}
}

// A merge of runs has in memory, of each lane, a record and two blocks of each run, and those of which rows are picked.
const (
	mostBlock  = 1 << 20
	nearBlock  = 16 << 10  // likewise leastBlock, of a store that is near
	tailBytes  = 256 << 10 // that an open file has of a store that is far away
	pickedRows = 4096      // before they are written
	pickedRuns = 4         // records of each run that are passed by then, at most
)

// mergedBlock is how much of a run is read at once where so many of them are merged in so many lanes.
func mergedBlock(runs, lanes int, far bool, budget int64) int64 {
	least := int64(nearBlock)
	if far {
		least = leastBlock
	}
	return min(max(budget/8/int64(max(runs*lanes, 1)), least), mostBlock)
}

// mergedLanes is how many lanes are merged side by side within a budget: one at least.
func mergedLanes(runs []*stagedRun, far bool, budget int64, most int) int {
	records, memory, rows := int64(0), int64(0), int64(0)
	for _, r := range runs {
		records += r.size.Record
		memory, rows = memory+r.size.Memory, rows+r.size.Rows
	}
	picked := min(pickedRows*memory/max(rows, 1), pickedRuns*records)
	open := int64(0)
	if far {
		open = tailBytes * int64(len(runs))
	}
	for lanes := most; lanes > 1; lanes-- {
		if blocks := 2 * int64(len(runs)) * mergedBlock(len(runs), lanes, far, budget); int64(lanes)*(records+2*picked+blocks)+open <= budget {
			return lanes
		}
	}
	return 1
}
