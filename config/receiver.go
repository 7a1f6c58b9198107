package config

// Receiver names the program that turns a stream into a subvolume.
type Receiver string

// The receivers.
const (
	ReceiverNative Receiver = "native"
	ReceiverProgs  Receiver = "btrfs-progs"

	// DefaultReceiver is the receiver where the configuration names none.
	DefaultReceiver = ReceiverNative
)

// UnmarshalText reads a receiver as the configuration writes it.
func (r *Receiver) UnmarshalText(text []byte) error {
	switch v := Receiver(text); v {
	case ReceiverNative, ReceiverProgs:
		*r = v
		return nil
	default:
		return refuse(`write "native" or "btrfs-progs"`, "unknown receiver %q", text)
	}
}

func (r Receiver) String() string { return string(r) }
