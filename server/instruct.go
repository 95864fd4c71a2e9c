package server

import (
	"context"
	"encoding/json"
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
	where, columns := r.URL.Query().Get("where"), r.URL.Query()["column"]
	if (where != "" || len(columns) > 0) && pipeline.Verb(r.PathValue("verb")) == pipeline.Resync {
		s, err := p.Snapshot(r.Context(), r.PathValue("table"), where, columns...)
		if err != nil {
			fail(w, http.StatusConflict, err.Error())
			return
		}
		answer(w, s)
		return
	}
	if a := r.URL.Query().Get("adopt"); a != "" && pipeline.Verb(r.PathValue("verb")) == pipeline.Adopt {
		s.adopt(w, r, p, a)
		return
	}
	if l := r.URL.Query().Get("leave"); l != "" && pipeline.Verb(r.PathValue("verb")) == pipeline.Leave {
		s.leave(w, r, p, l)
		return
	}
	o, err := p.Instruct(r.Context(), r.PathValue("table"), pipeline.Verb(r.PathValue("verb")))
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, o)
}

// adopt asks for a table of another job to be taken over.
func (s *Server) adopt(w http.ResponseWriter, r *http.Request, p Pipeline, text string) {
	var a pipeline.Adoption
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		fail(w, http.StatusBadRequest, "adopt: "+err.Error())
		return
	}
	o, err := p.Adopt(r.Context(), r.PathValue("table"), a)
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, o)
}

// leave asks for a table to be left to another pipeline.
func (s *Server) leave(w http.ResponseWriter, r *http.Request, p Pipeline, text string) {
	var l pipeline.Leaving
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		fail(w, http.StatusBadRequest, "leave: "+err.Error())
		return
	}
	o, err := p.Leave(r.Context(), r.PathValue("table"), l)
	if err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, o)
}

// Leave asks for a table to be left to another pipeline: the lake has noted it when this returns.
func (h *Held) Leave(ctx context.Context, table string, l pipeline.Leaving) (pipeline.Order, error) {
	var o pipeline.Order
	b, err := json.Marshal(l)
	if err == nil {
		err = h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+string(pipeline.Leave)+"?leave="+url.QueryEscape(string(b)), &o)
	}
	return o, err
}

// Adopt asks for a table of another job to be taken over: the lake has noted it when this returns.
func (h *Held) Adopt(ctx context.Context, table string, a pipeline.Adoption) (pipeline.Order, error) {
	var o pipeline.Order
	b, err := json.Marshal(a)
	if err == nil {
		err = h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+string(pipeline.Adopt)+"?adopt="+url.QueryEscape(string(b)), &o)
	}
	return o, err
}

// Instruct asks something for one table of the pipeline: the lake has noted it when this
// returns, and it is done as soon as what is being written has an end.
func (h *Held) Instruct(ctx context.Context, table string, verb pipeline.Verb) (pipeline.Order, error) {
	var o pipeline.Order
	err := h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+url.PathEscape(string(verb)), &o)
	return o, err
}

// Snapshot asks for the rows of a table that meet a condition to be read anew, or for some of their columns: the
// lake has noted it when this returns.
func (h *Held) Snapshot(ctx context.Context, table, where string, columns ...string) (pipeline.Snapshot, error) {
	var s pipeline.Snapshot
	query := url.Values{"where": {where}, "column": columns}
	err := h.c.ask(ctx, http.MethodPost, h.path+"/tables/"+url.PathEscape(table)+"/"+string(pipeline.Resync)+"?"+query.Encode(), &s)
	return s, err
}
