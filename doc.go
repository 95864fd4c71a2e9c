// Package lakefeed is the root of Lakefeed, which keeps Apache Hudi tables on a
// data lake in step with PostgreSQL: seconds behind, exactly once, from one Go
// binary. It holds no code; this is the map, in the order in which a change passes
// the folders. A package imports only packages of a lower layer, as layers_test.go
// checks.
//
//	change/        what a source emits: a Batch (an Arrow record of one table with op,
//	               position and unchanged bits), Schema, Position
//	postgres/      the PostgreSQL connector: first copy and WAL -> change.Batch
//	  pgoutput/      bytes -> messages; no network
//	pipeline/      one source into many tables: batch, reduce, fill, upsert, commit,
//	               checkpoint, acknowledge
//	hudi/          Hudi tables, reader and writer; a library of its own
//	  timeline/ logfile/ basefile/ schema/ ...    formats and codecs under it
//	storage/       where the bytes land: file, mem; storagetest is the suite for all
//	query/         SQL over Hudi tables by DuckDB, in the process; the one package with cgo
//	config/        the configuration file -> the Options of the packages above
//	metrics/       what pipeline and hudi report -> Prometheus
//	server/        the long-running service: pipelines and its HTTP side
//	cmd/lakefeed/  the program: one file for each command
//	internal/      pgserver (a private PostgreSQL), pgtest (the same for tests), laketest
//	               (the binary in tests), seed (of random tests), shape
//	parity/        our tables under Spark and hudi-rs, and theirs under ours
//	e2e/  bench/   the whole path; measurements
//	docs/          for users; docs/format has the byte formats, docs/adr the decisions
//	scripts/       what `make setup` installs
//
// hudi and postgres know nothing of each other: pipeline joins them.
package lakefeed
