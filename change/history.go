package change

// Branch is a place where a log was left for another: what it holds from At on is none of the
// log that we read now.
type Branch struct {
	Timeline int32 `json:"timeline"` // the one that was left
	At       LSN   `json:"at"`
}
