package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// transactionModel is what a server does with one transaction: sub-transactions nest, and each
// gets its id with its first message, behind those that it is within.
type transactionModel struct {
	t     *testing.T
	p     *transactionFiles
	rng   *rand.Rand
	top   uint32
	next  uint32
	open  [][]uint32 // of each open level its ids: its own, when it has one, and those of what was released into it
	kept  []string
	owner []uint32
}

func (m *transactionModel) write() {
	for i := range m.open {
		if len(m.open[i]) == 0 {
			m.open[i] = append(m.open[i], m.next)
			m.next++
		}
	}
	xid := m.top
	if n := len(m.open); n > 0 {
		xid = m.open[n-1][0]
	}
	size := m.rng.IntN(40)
	if m.rng.IntN(500) == 0 {
		size = 3 * transactionBuffer / 2
	}
	msg := binary.BigEndian.AppendUint32([]byte{'I'}, xid)
	msg = fmt.Appendf(msg, "%d %*d", len(m.kept), size, 0)
	if err := m.p.write(xid, msg, false); err != nil {
		m.t.Fatal(err)
	}
	m.kept, m.owner = append(m.kept, string(msg)), append(m.owner, xid)
}

// end closes the innermost level, in one of the two ways.
func (m *transactionModel) end(commit bool) {
	n := len(m.open) - 1
	ids := m.open[n]
	m.open = m.open[:n]
	switch {
	case !commit:
		slices.Reverse(ids) // as the server does: the inner ones first
		for _, xid := range ids {
			if _, err := m.p.abort(m.top, xid); err != nil {
				m.t.Fatal(err)
			}
		}
		for i := range m.kept {
			if slices.Contains(ids, m.owner[i]) {
				m.kept[i] = ""
			}
		}
	case n > 0 && len(ids) > 0:
		m.open[n-1] = append(m.open[n-1], ids...)
	}
}

// TestTransactionFiles: what a transaction leaves after any nesting of sub-transactions, released and
// rolled back, of more of them than are remembered, over the end of the ids.
func TestTransactionFiles(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		p := &transactionFiles{dir: t.TempDir()}
		first := ^uint32(0) - uint32(seed*800)
		m := &transactionModel{t: t, p: p, rng: rand.New(rand.NewPCG(seed, 1)), top: first, next: first + 1}
		for block := range 40 {
			if err := p.start(m.top, block == 0); err != nil {
				t.Fatal(err)
			}
			for range m.rng.IntN(400) {
				m.write()
				if m.rng.IntN(3) == 0 { // a sub-transaction of one message
					m.open = append(m.open, nil)
					m.write()
					m.end(true)
				}
			}
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			switch n := m.rng.IntN(6); {
			case n < 2 || len(m.open) == 0:
				m.open = append(m.open, nil)
			case n < 4:
				m.end(n == 2)
			}
		}
		for len(m.open) > 0 {
			m.end(m.rng.IntN(2) == 0)
		}
		compareTransaction(t, p, m)
	}
}

func compareTransaction(t *testing.T, p *transactionFiles, m *transactionModel) {
	t.Helper()
	s, err := p.take(m.top)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range m.kept {
		if want == "" {
			continue
		}
		if got, err := s.next(); string(got) != want || err != nil {
			t.Fatalf("got %.40q, %v, want %.40q", got, err, want)
		}
	}
	if got, err := s.next(); got != nil || err != nil {
		t.Errorf("%.40q, %v behind the end", got, err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestTransactionFilesCut: a large part that is rolled back again and again leaves no bytes behind.
func TestTransactionFilesCut(t *testing.T) {
	t.Parallel()
	p := &transactionFiles{dir: t.TempDir()}
	for try := range uint32(50) {
		if err := p.start(100, try == 0); err != nil {
			t.Fatal(err)
		}
		if err := p.write(101+try, make([]byte, transactionBuffer), true); err != nil {
			t.Fatal(err)
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if doubt, err := p.abort(100, 101+try); err != nil || doubt {
			t.Fatalf("%v, in doubt: %t", err, doubt)
		}
	}
	if st, err := p.all[100].file.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("%d bytes are left, %v", st.Size(), err)
	}
	p.reset()
}

// TestTransactionFilesFail: parts that do not follow each other are refused.
func TestTransactionFilesFail(t *testing.T) {
	t.Parallel()
	p := &transactionFiles{dir: t.TempDir()}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	refused("a second part", p.start(1, false))
	refused("an end", p.stop())
	if err := p.start(1, true); err != nil {
		t.Fatal(err)
	}
	refused("a part within a part", p.start(2, true))
	_, err := p.take(1)
	refused("a commit within a part", err)
	_, err = p.abort(1, 1)
	refused("a rollback within a part", err)
	if err := errors.Join(p.write(1, []byte("Imessage"), false), p.stop()); err != nil {
		t.Fatal(err)
	}
	refused("a first part that comes twice", p.start(1, true))
	_, err = p.take(2)
	refused("a commit of nothing", err)
	if _, err := p.abort(2, 2); err != nil { // a server that sent nothing of it
		t.Error(err)
	}
	s, err := p.take(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.file.Truncate(6); err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		t.Errorf("a file that was cut short: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
