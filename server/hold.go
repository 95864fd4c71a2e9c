package server

import (
	"net/http"
	"time"

	"lakefeed/change"
)

// HoldAnswer is the answer to a hold.
type HoldAnswer struct {
	LSN string `json:"lsn"` // the pipeline has read up to here and no further
}

// CutAnswer is the answer to a cut.
type CutAnswer struct {
	Instants map[string]string `json:"instants"` // of each table: the commit that ends at the cut
}

// hold stops a pipeline. Whoever asked may die: the lease lets it go on.
func (s *Server) hold(w http.ResponseWriter, r *http.Request) {
	p, name := s.named(w, r)
	if p == nil {
		return
	}
	patient(w)
	s.lease(name, p)
	lsn, err := p.Hold(r.Context())
	if err != nil {
		s.free(name)
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, HoldAnswer{LSN: lsn.String()})
}

func (s *Server) cut(w http.ResponseWriter, r *http.Request) {
	p, name := s.named(w, r)
	if p == nil {
		return
	}
	lsn, err := change.ParseLSN(r.FormValue("lsn"))
	if err != nil {
		fail(w, http.StatusBadRequest, "lsn: "+err.Error())
		return
	}
	patient(w)
	s.lease(name, p)
	instants, err := p.Cut(r.Context(), lsn)
	if err != nil {
		s.free(name)
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, CutAnswer{Instants: instants})
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	if p, name := s.named(w, r); p != nil {
		s.free(name)
		answer(w, struct{}{})
	}
}

func (s *Server) named(w http.ResponseWriter, r *http.Request) (Pipeline, string) {
	name := r.PathValue("name")
	p, ok := s.o.Pipelines[name]
	if !ok {
		fail(w, http.StatusNotFound, "no pipeline is named "+name)
		return nil, ""
	}
	return p, name
}

// patient lifts the write timeout: a hold waits for a round, a cut for a commit.
func patient(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines has none to lift
}

// lease lets a held pipeline go on when nobody asks for it any more.
func (s *Server) lease(name string, p Pipeline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.leases[name]; t != nil {
		t.Stop()
	}
	s.leases[name] = time.AfterFunc(s.o.HoldLease, func() {
		s.o.Logger.Warn("a pipeline was held for too long and goes on", "pipeline", name)
		p.Release()
	})
}

func (s *Server) free(name string) {
	s.mu.Lock()
	if t := s.leases[name]; t != nil {
		t.Stop()
		delete(s.leases, name)
	}
	s.mu.Unlock()
	s.o.Pipelines[name].Release()
}

func (s *Server) releaseAll() {
	s.mu.Lock()
	var names []string
	for name := range s.leases {
		names = append(names, name)
	}
	s.mu.Unlock()
	for _, name := range names {
		s.free(name)
	}
}
