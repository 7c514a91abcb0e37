# SPDX-License-Identifier: Apache-2.0
# Everything a person or a CI machine starts. Building itself is Meson's: meson.build.

help:
	@echo 'make run     boot a small Linux guest on a Postern disk and compare (see demo/README.md)'
	@echo 'make check   every test; the last line counts them'
	@echo 'make bench   measure; writes docs/benchmarks.md and bench.json'
	@echo 'make bench-recovery  how long guests wait when the worker dies; writes docs/recovery-benchmarks.md'
	@echo 'make compare  every path to storage, measured from a guest; into docs/benchmarks.md'
	@echo 'make soak    10,000 kills among changes at random, then fuzzers and guests; SOAK="--seed N"'
	@echo 'make image   a whole Debian as the machine of a storage function (10 minutes)'
	@echo 'make fuzz    the fuzzers for minutes'
	@echo 'make mutate  break each rule in turn; a test has to notice'
	@echo 'make coverage  lines of the path that no test reaches, against tests/coverage.md'
	@echo 'make clean   remove what was built'

run:
	@setup/install run
	@demo/run

check:
	@setup/install run check
	@tests/check

bench:
	@setup/install run bench
	@tests/bench/run

bench-recovery:
	@setup/install run check bench
	@tests/recovery/bench

compare:
	@setup/install run bench
	@tests/bench/compare

soak:
	@setup/install run check
	@tests/soak $(SOAK)

image:
	@setup/install run check image
	@tests/guest/debian

fuzz:
	@setup/install run check
	@tests/fuzz/run

mutate:
	@setup/install run check
	@tests/mutate/run

coverage:
	@setup/install run check
	@tests/coverage

clean:
	rm -rf build build-*

.PHONY: help run check bench bench-recovery compare soak image fuzz mutate coverage clean
