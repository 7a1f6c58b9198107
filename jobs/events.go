package jobs

// Keys of log attributes. In the journal they are the fields BTRKEEP_JOB, BTRKEEP_DESTINATION and so on, and MESSAGE_ID.
const (
	KeyJob         = "job"
	KeyDestination = "destination"
	KeySnapshot    = "snapshot"
	KeyParent      = "parent"
	KeyBytes       = "bytes"
	KeySeconds     = "seconds"
	KeyResult      = "result"
	KeyHint        = "hint"
	KeyError       = "error"
	KeyEvent       = "message_id"
)

// One MESSAGE_ID per kind of event, journald's 128-bit identifiers (sd_journal_print(3)): they never change.
const (
	EventSnapshot = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e01"
	EventTransfer = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e02"
	EventAbsent   = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e03"
	EventPruned   = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e04"
	EventRun      = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e05" // the end of a run, whatever its result
	EventWarning  = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e06"
	EventLeftover = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e07"
	EventResumed  = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e08"
	EventVerify   = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e09"
	EventDrill    = "0c1d6a5f3b0e4d8f9d4a7a6b5f1c2e0a"
)
