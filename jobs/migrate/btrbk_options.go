package migrate

import "strings"

// lost gives what a person should know of an option of btrbk that btrkeep has not, or means otherwise; "" if the option, so set, says nothing that is not done anyway.
func lost(key, value string) string {
	if lines, ok := translated()[key]; ok {
		return lines[value]
	}
	for _, group := range untranslated() {
		for _, name := range strings.Fields(group.keys) {
			if strings.HasSuffix(name, "*") && strings.HasPrefix(key, strings.TrimSuffix(name, "*")) || name == key {
				if value == group.harmless {
					return ""
				}
				return group.why
			}
		}
	}
	return "is no option of btrbk 0.32"
}

// translated are the options that are translated where they hold; by their values, what changes all the same.
func translated() map[string]map[string]string {
	return map[string]map[string]string{
		"timestamp_format": {}, "snapshot_dir": {}, "snapshot_name": {}, "snapshot_preserve": {}, "snapshot_preserve_min": {},
		"target_preserve": {}, "target_preserve_min": {}, "ssh_user": {}, "ssh_port": {}, "rate_limit": {}, "rate_limit_remote": {}, "noauto": {},
		"ssh_identity": {}, "ssh_compression": {"no": ""}, "ssh_cipher_spec": {"default": ""}, // into ssh's own configuration
		"snapshot_create": {
			"ondemand": "btrkeep makes a snapshot in each run, whether a destination is there or not; of those that no destination has yet, `keep` of the job says how many stay",
			"no":       "btrkeep sends only the snapshots that it makes itself: the job is commented out",
		},
		"incremental": {
			"no":     "btrkeep sends incrementally whenever there is a common snapshot",
			"strict": "btrkeep sends in full where there is no common snapshot; `btrkeep plan` tells beforehand",
		},
		"preserve_day_of_week": {"monday": ""},
	}
}

// untranslated are options, or what they begin with, that have no counterpart.
func untranslated() []struct{ keys, harmless, why string } {
	return []struct{ keys, harmless, why string }{
		{"preserve_hour_of_day", "0", "a day begins at midnight, in `timezone`"},
		{"archive_preserve archive_preserve_min archive_exclude archive_exclude_older", "", "there is no archive command: give the job a second destination, with a `keep` of its own"},
		{"incremental_prefs incremental_clones incremental_resolve", "", "btrkeep chooses parents and clone sources by UUID, at the source among all read-only snapshots of the file system"},
		{"stream_compress*", "no", "between machines btrkeep compresses by itself, and what btrfs has compressed is sent as it is"},
		{"stream_buffer stream_buffer_remote", "no", "no buffer program is needed: the ends of a transfer run side by side"},
		{"transaction_log transaction_syslog", "no", "the journal has the fields BTRKEEP_JOB and others, and `btrkeep history` all runs"},
		{"lockfile", "no", "each job and each destination directory has a lock by itself"},
		{"backend backend_local backend_remote backend_local_user", "btrfs-progs", "the btrfs program is not used; btrkeep runs as root here, and as what a key is bound to on another machine (docs/push-to-a-nas.md)"},
		{"compat compat_local compat_remote", "no", "the btrfs program is not used, and what cannot be received is always an error"},
		{"btrfs_commit_delete", "yes", "deletions are always waited for"},
		{"snapshot_qgroup_destroy target_qgroup_destroy archive_qgroup_destroy", "no", "qgroups of deleted subvolumes stay where the kernel leaves them: `btrfs qgroup clear-stale`"},
		{"cache_dir ignore_extent_data_inline", "", "there is no extents command"},
		{"safe_commands warn_unknown_targets", "no", "nothing is decided by where a subvolume lies or what it is called"},
		{"group", "", "jobs have no groups: `btrkeep run` takes their names, of which this is said in the comment of each"},
		{"raw_target_* gpg_* openssl_* kdf_*", "no", "there are no raw targets"},
		{"btrfs_progs_compat resume_missing snapshot_create_always", "", "btrbk itself does not know it any more"},
		{"snapshot_preserve_daily snapshot_preserve_weekly snapshot_preserve_monthly target_preserve_daily target_preserve_weekly target_preserve_monthly", "",
			"btrbk has not followed it since 0.23: it keeps everything and makes no backups. Say what to `keep`"},
	}
}
