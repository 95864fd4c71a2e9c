// Package storagetest tests stores, and what stands on them.
//
// [Run] is the suite that every [storage.Store] passes. [Faulty] is a store of which
// one call fails, for crash tests of what is built on stores.
package storagetest
