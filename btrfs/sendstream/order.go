package sendstream

// order holds the rules on the sequence of commands: SUBVOL or SNAPSHOT first and only there, nothing after END.
type order struct {
	begun, ended bool
}

func (o *order) step(cmd Cmd) error {
	first := cmd == CmdSubvol || cmd == CmdSnapshot
	switch {
	case !o.begun && !first:
		return corrupt("it begins with %s", cmd)
	case o.begun && first:
		return corrupt("%s: a second subvolume", cmd)
	}
	o.begun = true
	o.ended = cmd == CmdEnd
	return nil
}
