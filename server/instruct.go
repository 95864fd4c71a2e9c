package server

import (
	"context"
	"net/http"
	"net/url"

	"lakefeed/pipeline"
)

// instruct asks something for one table: POST /pipelines/{name}/tables/{table}/{verb}.
func (s *Server) instruct(w http.ResponseWriter, r *http.Request) {
	p := s.named(w, r)
	if p == nil {
		return
	}
	if where := r.URL.Query().Get("where"); where != "" && pipeline.Verb(r.PathValue("verb")) == pipeline.Resync {
		s, err := p.Snapshot(r.Context(), r.PathValue("table"), where)
		if err != nil {
			fail(w, http.StatusConflict, err.Error())
			return
		}
		answer(w, s)
		return
	}
	o, err := p.Instruct(r.Context(), r.PathValue("table"), pipeline.Verb(r.PathValue("verb")))
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, o)
}

// Instruct asks something for one table of the pipeline: the lake has noted it when this
// returns, and it is done as soon as what is being written has an end.
func (h *Held) Instruct(ctx context.Context, table string, verb pipeline.Verb) (pipeline.Order, error) {
	var o pipeline.Order
	err := h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+url.PathEscape(string(verb)), &o)
	return o, err
}

// Snapshot asks for the rows of a table that meet a condition to be read anew: the lake has noted it
// when this returns.
func (h *Held) Snapshot(ctx context.Context, table, where string) (pipeline.Snapshot, error) {
	var s pipeline.Snapshot
	err := h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+string(pipeline.Resync)+"?where="+url.QueryEscape(where), &s)
	return s, err
}
