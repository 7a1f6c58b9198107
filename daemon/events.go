package daemon

// One MESSAGE_ID per kind of event, as those of package jobs: they never change.
const (
	EventStarted  = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b01"
	EventStopped  = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b02"
	EventReloaded = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b03"
	EventRefused  = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b04" // a configuration with mistakes: the one before stays
	EventDropped  = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b05" // a run that was missed and is not made up for
	EventProgress = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b06" // of a long transfer, every few minutes
	EventPanic    = "5b0f3f0d2c7e4b6ea4c1d7f08a6e9b07"
)
