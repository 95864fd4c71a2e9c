package server

import (
	"net/http"
	"time"

	"lakefeed/change"
)

// HoldAnswer is the answer to a hold.
type HoldAnswer struct {
	LSN change.LSN `json:"lsn"` // the pipeline has read up to here and no further
}

// CutAnswer is the answer to a cut.
type CutAnswer struct {
	Instants map[string]string `json:"instants"` // newest of each table: its commit ends at the cut
}

func (s *Server) hold(w http.ResponseWriter, r *http.Request) {
	p := s.named(w, r)
	if p == nil {
		return
	}
	lsn, err := p.Hold(r.Context())
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, HoldAnswer{LSN: lsn})
}

func (s *Server) cut(w http.ResponseWriter, r *http.Request) {
	p := s.named(w, r)
	if p == nil {
		return
	}
	lsn, err := change.ParseLSN(r.FormValue("lsn"))
	if err != nil {
		fail(w, http.StatusBadRequest, "lsn: "+err.Error())
		return
	}
	instants, err := p.Cut(r.Context(), lsn)
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, CutAnswer{Instants: instants})
}

// named is the pipeline that a request means, nil once the request is refused. It
// lifts the write timeout: a hold waits for a transaction's end, a cut for a commit.
func (s *Server) named(w http.ResponseWriter, r *http.Request) Pipeline {
	name := r.PathValue("name")
	p, ok := s.o.Pipelines[name]
	if !ok {
		fail(w, http.StatusNotFound, "no pipeline is named "+name)
		return nil
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines has none to lift
	return p
}
