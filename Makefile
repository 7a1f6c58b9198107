# make help lists what there is. Everything works on a Debian that has make and Go, as root; what else is needed is installed.

# Where Debian and go.dev put programs that a plain PATH may lack.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

GO         ?= go
TESTFLAGS  ?= # such as -v, -run NAME, -race
BENCHFLAGS ?= # such as -short
FUZZTIME   ?= 150s
# Half of the time the tests wait for disks and lines: packages side by side, three for two processors.
at_once     = -p $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
tool        = $(GO) tool -modfile=tools/go.mod

# Programs, or files, and the Debian packages that have them; with @, only the program is taken out of the package.
for_btrfs = mkfs.btrfs=btrfs-progs mount=mount losetup=mount unshare=util-linux
for_man   = scdoc=scdoc
# A C compiler and the kernel's headers, to hold the ioctl structs against them; btrbk, rsync and strace for a short version of the bench.
for_test  = $(for_btrfs) $(for_man) dpkg-deb=dpkg rpm=rpm shellcheck=shellcheck git=git man=man-db \
            mkfs.ext4=e2fsprogs blkid=util-linux systemd-analyze=systemd strace=strace btrbk=btrbk rsync=rsync \
            sshd=openssh-server ssh=openssh-client nsenter=util-linux dbus-daemon=dbus-daemon promtool=@prometheus \
            gcc=gcc /usr/include/stdio.h=libc6-dev /usr/include/linux/btrfs.h=linux-libc-dev
for_long  = $(for_test) lintian=lintian mmdebstrap=mmdebstrap systemd-nspawn=systemd-container nsenter=util-linux

# Names of tests without their Test, whole: what only begins or ends like one is not meant.
all_but     = -skip "^Test($(1))$$"
only        = -run "^Test($(1))$$"
# The tests of jobs that choose their receiver, or whose receiver is always the own one: once is enough.
native_only = MistakeInReceiver|AboveInterruptedGoesOn|TransferGoesOn.*|IncrementalTransferGoesOn|GoesOnAfterSendFailed|TransferStartsOver.*|OtherReceiverStartsOver|Interrupted|TornOff|PowerCut|PowerCutAfterReceiver|ReceiverLacksParents|OtherRefusalsAreFailures|CheckpointsOfOthersStay|CheckpointThatIsRead|ResumeMeetsBadDisk|LostBeforeCheckpoint|LostInCommit
# Those of what only this machine does: looking into files, programs that receive, files of state, locks that the test itself holds; and those that go
# through more days than what was received today can have.
here_only   = $(native_only)|Group.*|MembersOfAGroup|Find.*|Follow.*|Verify.*|NoteVerify|Drill.*|FingerprintsArePruned|ParseWhen.*|Slots|EstimateFallsBack|PlanEstimates|StatusOfProofs|StateOfUneventfulRuns|BusyDestination|Program.*|OlderReceiver|StageFailsAtTheEnd|RestoreKilled|RestorePlanted|ProtectionLasts|SymlinkedDestination|RestoreWithoutConfiguration|TwoDisksInTurnForAYear|TimeZoneChanges|HourlyThroughDaylightSaving|ClockJumps.*|DiskAwayForLong
# Those that do one thing after the other, for long.
one_by_one  = TwoDisksInTurnForAYear|OddPaths|RestoreKilled|RestoreInPlace.*|PowerCut|PowerCutAfterReceiver|TornOff|Interrupted|AboveInterruptedGoesOn|TimeZoneChanges|HourlyThroughDaylightSaving|Program.*|OlderReceiver|StageFailsAtTheEnd|RestorePlanted|ClockJumps.*|DiskAwayForLong
# Those of what does not depend on who receives.
no_receiver = TwoDisksInTurnForAYear|TimeZoneChanges|HourlyThroughDaylightSaving|Verify.*|NoteVerify|Find.*|Follow.*|DrillFindsDamage|DrillByFingerprint|FingerprintsArePruned|ClockJumps.*|DiskAwayForLong|Pin.*|ParseWhen.*|Slots
# Those that take long with a login in each run, and tell nothing new then.
slow_far    = RestoreInPlace.*|RestoreAdopts|PinBesidePrune
# Those in jobs and jobs/remote, and nowhere else, that interrupt transfers again and again and tell what that has cost: test-long prints it.
measured    = Interrupted|TornOff|Cuts

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

.PHONY: build
build: ## the program, static, as ./btrkeep
	@GO='$(GO)' tools/build.sh btrkeep

.PHONY: release
release: ## reproducible static binaries for amd64, arm64 and armv7, in dist/
	@GO='$(GO)' tools/release.sh dist

.PHONY: deb rpm
deb: ## the Debian package, in dist/; ARCH=arm64 or armv7 for other machines
rpm: ## the RPM package, in dist/; ARCH=arm64 or armv7 for other machines
deb rpm:
	@tools/install-deps.sh $(for_man)
	@GO='$(GO)' tools/package.sh $@ $(ARCH)

.PHONY: install
install: build ## the program, unit, manual and completions, below PREFIX (/usr/local), without a package
	@tools/install-deps.sh $(for_man)
	@GO='$(GO)' tools/install.sh btrkeep

.PHONY: uninstall
uninstall: ## undo that: configuration, state, snapshots and backups stay
	@tools/install.sh --uninstall

.PHONY: demo
demo: ## half a minute of backups on two throw-away disks (root)
	@tools/install-deps.sh $(for_btrfs)
	@$(MAKE) --no-print-directory build
	@contrib/demo.sh ./btrkeep

.PHONY: test
test: ## all tests but the long ones, on real file systems if root
	@tools/install-deps.sh $(for_test) || [ "$$(id -u)" != 0 ]
	$(GO) test -count=1 -timeout 10m $(at_once) $(TESTFLAGS) ./...
	@tools/each.sh 'push pull btrfs-progs' sh -c 'case $$0 in \
		btrfs-progs) BTRKEEP_TEST_RECEIVER=$$0 $(GO) test -count=1 -timeout 10m $(TESTFLAGS) $(call all_but,$(native_only)|$(no_receiver)) ./jobs;; \
		*) BTRKEEP_TEST_PLACE=$$0 $(GO) test -count=1 -timeout 10m $(TESTFLAGS) $(call all_but,$(here_only)|$(slow_far)) ./jobs;; esac'
	[ "$$(uname -m)" != x86_64 ] || BTRKEEP_TEST_GOARCH=386 $(GO) test -count=1 -timeout 10m $(TESTFLAGS) -run Scripts ./cmd/btrkeep

.PHONY: race
race: ## the tests of what runs side by side, under the race detector
	@tools/install-deps.sh $(for_test)
	CGO_ENABLED=1 $(GO) test -count=1 -short -race -timeout 10m $(at_once) $(TESTFLAGS) $(call all_but,$(one_by_one)) ./daemon/... ./jobs ./jobs/remote ./jobs/remote/wire ./btrfs ./internal/child

.PHONY: test-long
test-long: ## also those that take long: booted systemd, many kills, many power cuts (root)
	@tools/install-deps.sh $(for_long)
	BTRKEEP_LONG=1 $(GO) test -count=1 -tags long -timeout 2h $(TESTFLAGS) $(call all_but,$(measured)) ./...
	BTRKEEP_LONG=1 $(GO) test -count=1 -tags long -timeout 2h -v $(call only,$(measured)) $(TESTFLAGS) ./jobs ./jobs/remote
	BTRKEEP_LONG=1 BTRKEEP_TEST_RECEIVER=btrfs-progs $(GO) test -count=1 -tags long -timeout 2h $(TESTFLAGS) $(call all_but,$(native_only)) ./jobs
	CGO_ENABLED=1 $(GO) test -count=1 -short -race -timeout 1h $(TESTFLAGS) ./daemon/... ./jobs/... ./btrfs ./internal/child
	for place in push pull; do BTRKEEP_LONG=1 BTRKEEP_TEST_PLACE=$$place $(GO) test -count=1 -tags long -timeout 2h $(TESTFLAGS) $(call all_but,$(here_only)) ./jobs || exit; done
	[ "$$(uname -m)" != x86_64 ] || BTRKEEP_TEST_GOARCH=386 BTRKEEP_LONG=1 $(GO) test -count=1 -tags long -timeout 1h $(TESTFLAGS) ./cmd/btrkeep

.PHONY: fuzz
fuzz: ## what reads send streams, fed with what is none, for FUZZTIME each (root)
	@tools/install-deps.sh $(for_btrfs)
	for target in FuzzDecode FuzzTap FuzzDecompress FuzzReceive; do \
		$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1000x ./btrfs/sendstream || exit; done

.PHONY: bench
bench: ## side by side with btrbk and with btrfs send | btrfs receive (root)
	$(GO) run ./internal/bench $(BENCHFLAGS)

.PHONY: lint
lint: ## what the program text has to be like
	$(tool) golangci-lint run
	$(GO) mod tidy -diff

.PHONY: fmt
fmt: ## bring the program text into form
	$(tool) golangci-lint fmt

.PHONY: clean
clean: ## remove what was built
	rm -rf btrkeep dist
