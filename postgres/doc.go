// Package postgres reads a PostgreSQL database (15 to 18) as changes in columns:
// first a copy of every table under one snapshot, then the write-ahead log from
// exactly there on.
//
//	c, err := postgres.Open(ctx, postgres.Options{URL: url, Pipeline: "shop"})
//	tables, err := c.Tables(ctx)
//	_, err = c.Prepare(ctx, tables, nil) // publications
//	at, err := c.CreateSlot(ctx)       // the slot, and a snapshot of its first position
//	for _, t := range tables {
//		err = c.Copy(ctx, t, store)    // every row as of that position
//	}
//	err = c.CloseSnapshot(ctx)
//	err = c.Stream(ctx, at)
//	for {
//		chunk, err := c.Next(ctx, time.Second)
//		// make it durable, then let the server forget it:
//		err = c.Ack(ctx, chunk.End)
//	}
//
// A library of its own: it knows nothing about where the changes go.
//
// Files, in the order of use: connector.go settings and sessions · connect.go
// hosts and passwords · pooler.go who stands in between · check.go
// what could go wrong, looked at before · catalog.go tables and their keys · size.go ·
// publication.go · slot.go · timeline.go
// which log it is · snapshot.go and copy.go the first copy · stream.go
// START_REPLICATION over the frames of wire.go · status.go what each side hears of the other ·
// transaction.go messages to changes · progress.go and transaction_file.go transactions in
// progress, on disk until they commit · restart.go a stream that has to come otherwise · relation.go a table's builders · type.go
// which types travel how · value*.go values to Arrow · message.go logical
// messages and the heartbeat · outbox.go messages as rows · error.go what is worth a retry · advice.go the way
// out of what the server refuses.
package postgres
