package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lakefeed/change"
)

// poll is how long one read of the source lasts when nothing comes: what asks
// the pipeline for something waits that long at most.
const poll = 500 * time.Millisecond

// stream captures rounds and writes them, one while the other is written, until
// ctx ends or, with Once, the lake has caught up.
func (p *Pipeline) stream(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rounds, over := make(chan *round), make(chan struct{})
	defer close(over)
	var lost error      // why the source ended; its last round is still to be written
	p.looked.Store(nil) // one of an earlier session
	g.Go(func() error {
		defer close(rounds)
		err := p.capture(ctx, rounds, over)
		if err != nil && ctx.Err() == nil && p.retryable(err) {
			lost, err = err, nil
		}
		return err
	})
	g.Go(func() error {
		defer cancel()
		return p.writeRounds(ctx, rounds)
	})
	g.Go(func() error { p.watchTables(ctx); return nil })
	return cmp.Or(g.Wait(), lost)
}

// capture reads the source into rounds.
func (p *Pipeline) capture(ctx context.Context, rounds chan<- *round, over <-chan struct{}) error {
	c := &capture{p: p, round: newRound(), rounds: rounds, over: over, sent: time.Now(), cut: p.opts.Until, ends: p.opts.Until != 0, read: p.acked()}
	if p.opts.Once && p.opts.Until == 0 {
		if err := p.lookOnce(ctx); err != nil {
			return err
		}
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	for {
		done, err := c.step(ctx)
		switch {
		case err != nil && c.whole && len(c.round.tables) > 0 && p.retryable(err):
			// Where connections never last a round, nothing would ever be committed.
			return errors.Join(err, c.send(ctx))
		case err != nil:
			c.round.remove()
			return err
		case done:
			return nil
		}
	}
}

// capture is the state of reading the source into rounds.
type capture struct {
	p      *Pipeline
	round  *round
	rounds chan<- *round
	over   <-chan struct{} // closed when the session has ended
	read   change.LSN      // everything before it is in this round or an earlier one
	rest   *change.Chunk   // what a cut left over
	whole  bool            // the round ends at a transaction's end
	sent   time.Time       // when the last round was sent
	token  string          // with Once: the content of the message to drain to
	end    change.LSN      // what to drain to where no message can be written, 0: that can be
	came   bool            // it has come
	waited bool            // and tables were being copied then

	ends    bool       // at the cut
	ended   change.LSN // the last cut
	cut     change.LSN // where the round is to end, 0: nowhere in particular
	cutDone func(map[string]string)
	held    *request // set while somebody has asked us to hold still
}

// step reads one chunk, and sends the round if that closes it. It reports the end of Once.
func (c *capture) step(ctx context.Context) (done bool, err error) {
	if err := c.answer(ctx); err != nil {
		return false, err
	}
	chunk, err := c.next(ctx)
	if err != nil {
		return false, err
	}
	if c.came = c.came || c.hasToken(chunk) || c.end != 0 && reaches(chunk, c.end); c.came {
		if err := c.waitForCopies(ctx); err != nil {
			return false, err
		}
	}
	if at := c.leaves(); at != 0 && reaches(chunk, at) {
		c.cut = at
	}
	if c.cut != 0 && reaches(chunk, c.cut) {
		c.ended = c.cut
		chunk, c.rest = splitChunk(chunk, c.cut)
		chunk.End = c.cut
		c.round.done, c.read, c.cut, c.cutDone = c.cutDone, c.cut, 0, nil
		if err := c.p.take(c.round, chunk); err != nil {
			return false, err
		}
		return c.ends, c.send(ctx)
	}
	c.whole = chunk.Whole
	if err := c.p.take(c.round, chunk); err != nil {
		return false, err
	}
	c.read = max(c.read, c.round.to)
	c.p.readLSN.Store(uint64(c.read))
	if !c.whole {
		return false, nil
	}
	if c.drained() || c.cut == 0 && c.held == nil && c.p.dueAgain() {
		return true, c.send(ctx)
	}
	idle := len(c.round.tables) == 0 && c.round.to > 0 && time.Since(c.sent) >= c.p.opts.Interval
	if c.cut == 0 && (c.p.full(c.round) || idle || c.p.incremental.window.Load().presses(c.round.to) || len(c.round.failures) > 0) {
		return false, c.send(ctx)
	}
	return false, nil
}

// leaves is the position at which the round is to end since a table is left there; 0: at none.
func (c *capture) leaves() change.LSN {
	if c.cut != 0 || !c.whole && len(c.round.tables) > 0 {
		return 0
	}
	return c.p.leavesAt(max(c.read, c.ended+1))
}

// next is what the last cut left over, or what the source has.
func (c *capture) next(ctx context.Context) (*change.Chunk, error) {
	if chunk := c.rest; chunk != nil {
		c.rest = nil
		return chunk, nil
	}
	wait := min(poll, c.p.opts.Interval) // the source gathers changes for so long
	if !c.round.opened.IsZero() {
		wait = max(0, min(wait, c.p.opts.Interval-time.Since(c.round.opened)))
	}
	c.p.phase("capture")
	chunk, err := c.p.opts.Source.Next(ctx, wait)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return chunk, nil
}

// hasToken reports whether the message to drain to is in the chunk.
func (c *capture) hasToken(chunk *change.Chunk) bool {
	return c.token != "" && slices.ContainsFunc(chunk.Messages, func(m change.Message) bool { return string(m.Content) == c.token })
}

// waitForCopies lets Once go on while tables are copied beside the stream, and then to another message.
func (c *capture) waitForCopies(ctx context.Context) error {
	n := c.p.chunked.Load()
	if n == 0 && !c.waited {
		return nil
	}
	c.came, c.waited = n > 0, n > 0
	if n > 0 {
		return nil
	}
	return c.drain(ctx)
}

// drain lets Once end at a message that is written now or, into a standby, where its log ends now.
func (c *capture) drain(ctx context.Context) error {
	c.token = "once " + uuid.NewString()
	switch end, err := c.p.opts.Source.Emit(ctx, c.token); {
	case errors.Is(err, change.ErrReadOnly):
		c.end = max(end, c.read)
	case err != nil:
		return fmt.Errorf("write the message to drain to: %w", err)
	}
	return nil
}

// drained reports whether Once has come to its end.
func (c *capture) drained() bool { return c.came && !c.waited }

// send hands the round to the writer, and opens the next.
func (c *capture) send(ctx context.Context) error {
	r := c.round
	c.round, c.sent = newRound(), time.Now()
	c.round.last = r.last
	select {
	case c.rounds <- r:
		return nil
	case <-ctx.Done():
		r.remove()
		return ctx.Err()
	}
}

// A request asks a running pipeline to hold still, then to cut: `validate` makes
// a snapshot of the source in between, and compares it with what the lake holds at the cut.
type request struct {
	cut   change.LSN // 0: hold
	reply chan answer
	took  chan (<-chan struct{}) // tells when the session has ended that took it
	until time.Time              // a holder that says nothing more is forgotten then
}

type answer struct {
	at       change.LSN
	instants map[string]string
	err      error
}

// holdTime is how long a pipeline holds still for somebody who does not come back.
const holdTime = 30 * time.Second

// Hold makes the pipeline stop reading its source at the end of a transaction,
// for half a minute at most, and returns how far it has read.
func (p *Pipeline) Hold(ctx context.Context) (change.LSN, error) {
	a, err := p.ask(ctx, request{})
	return a.at, err
}

// Cut lets the pipeline read on and commit exactly the transactions whose commit
// starts before lsn, which must not be before what Hold returned. It returns the
// newest instant of every table; the pipeline goes on by itself.
func (p *Pipeline) Cut(ctx context.Context, lsn change.LSN) (map[string]string, error) {
	a, err := p.ask(ctx, request{cut: lsn})
	return a.instants, err
}

// ask waits for the answer to a request, and asks the next session where one ended without it.
func (p *Pipeline) ask(ctx context.Context, r request) (answer, error) {
	for {
		r.reply, r.took = make(chan answer, 1), make(chan (<-chan struct{}), 1)
		select {
		case p.control <- r:
		case <-ctx.Done():
			return answer{}, fmt.Errorf("ask the pipeline, which is not streaming: %w", ctx.Err())
		}
		select {
		case a := <-r.reply:
			return a, a.err
		case <-ctx.Done():
			return answer{}, ctx.Err()
		case <-<-r.took:
		}
		select {
		case a := <-r.reply: // it came at the end
			return a, a.err
		default:
		}
	}
}

// answer takes requests; while the pipeline is held, it waits here.
func (c *capture) answer(ctx context.Context) error {
	for {
		var timeout <-chan time.Time
		if c.held != nil {
			timeout = time.After(time.Until(c.held.until))
		} else {
			select {
			case r := <-c.p.control:
				c.take(&r)
				continue
			default:
				return nil
			}
		}
		if !c.whole && c.round.to != 0 && c.rest == nil {
			return nil // in a transaction: read on to its end first
		}
		c.reply()
		select {
		case r := <-c.p.control:
			c.take(&r)
		case <-timeout:
			c.held = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take notes a request.
func (c *capture) take(r *request) {
	r.took <- c.over
	if r.cut == 0 {
		r.until = time.Now().Add(holdTime)
		c.held = r
		return
	}
	c.held = nil
	if r.cut < c.read || c.cut != 0 {
		r.reply <- answer{err: errors.New("cut: the pipeline has read further than that, or cuts already; hold it first")}
		return
	}
	c.cut = r.cut
	c.cutDone = func(instants map[string]string) { r.reply <- answer{instants: instants} }
}

// reply tells who asked us to hold that we do.
func (c *capture) reply() {
	if c.held.reply != nil {
		c.held.reply <- answer{at: c.read}
		c.held.reply = nil
	}
}
