package config

// notYet refuses what the configuration knows but this version cannot do. It is all in this file, so that
// a part that arrives is a rule to delete.
func (l *loader) notYet(jobs []*draft) {
	refuse := func(at place, hint, what string) {
		l.fail(at, hint, "%s not available in this version of btrkeep", what)
	}
	const remove = "remove this line"
	for _, d := range jobs {
		for _, t := range d.targets {
			if scheme, ok := schemeOf(t.URL); ok && scheme != "ssh" {
				n := t.set["url"]
				refuse(n.valuePlace(), "use a directory of this machine, or ssh://host/path", scheme+" destinations are")
			}
			if n, ok := t.set["encrypt_to"]; ok && len(t.EncryptTo) > 0 {
				refuse(n.keyPlace(), remove, "encryption is")
			}
		}
	}
}
