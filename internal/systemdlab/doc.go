// Package systemdlab tests the shipped unit under a real systemd: Debian, booted in a container, with loop-mounted btrfs disks.
//
// It has nothing but tests, and they are built with the tag `long` only (make test-long). They need root, cgroup2, overlayfs, and Debian's
// mmdebstrap and systemd-container. The root file systems are made once and kept in $XDG_CACHE_HOME/btrkeep-test or /var/cache/btrkeep-test.
// $BTRKEEP_TEST_SUITES names the Debian releases to test under.
package systemdlab
