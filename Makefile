# Wharf's verbs. `make` alone lists them. What a verb takes more than a line for
# is in scripts/; what the tests do is in tests/.

# ------------------------------------------------------------------ variables
NIC   ?= e100
WWW   ?= www
MEM   ?= 64
QEMU  ?= qemu-system-x86_64
BUILD ?= build

# As in the lab, the ports follow from the user id, so that users do not meet.
GDB_PORT  ?= $(shell expr `id -u` % 5000 + 25000)
ECHO_PORT ?= $(shell expr $(GDB_PORT) + 1)
HTTP_PORT ?= $(shell expr $(GDB_PORT) + 2)

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO  ?= cargo
comma  := ,

# Per card: the machine, and the flags that put the card in it. The E100 is in the
# lab's slot, 00:03.0; the 82576 is a PCI Express card, behind a root port.
MACHINE_e100 := pc
CARD_e100    := -device i82559er,netdev=n0,addr=3,romfile=
MACHINE_igb  := q35
CARD_igb     := -device pcie-root-port,id=rp0,chassis=1,addr=3 -device igb,bus=rp0,netdev=n0,romfile=
CARD := $(or $(CARD_$(NIC)),$(error NIC=$(NIC): Wharf drives no such card; it knows: e100 igb))
# `make test` takes all cards, unless it is given one.
TESTED := $(if $(filter file,$(origin NIC)),all,$(NIC))

QEMUFLAGS = -accel tcg -machine $(MACHINE_$(NIC)) -smp 1 -m $(MEM) \
	-nodefaults -display none -no-reboot -serial mon:stdio \
	-netdev user,id=n0,hostfwd=tcp:127.0.0.1:$(ECHO_PORT)-:7,hostfwd=udp:127.0.0.1:$(ECHO_PORT)-:7,hostfwd=tcp:127.0.0.1:$(HTTP_PORT)-:80 \
	$(CARD) \
	$(if $(PCAP),-object filter-dump$(comma)id=d0$(comma)netdev=n0$(comma)file=$(PCAP)) \
	-kernel $(BUILD)/boot.elf -initrd $(BUILD)/wharf.tar -append "$(CMDLINE)" \
	$(QEMUEXTRA)

# ---------------------------------------------------------------------- verbs
.PHONY: help setup image qemu qemu-gdb gdb grade test bench bench-guests bench-icount check nc-7 nc-80 which-ports clean

help:
	@echo 'make qemu          boot Wharf in the foreground: echo server and web server'
	@echo 'make run-NAME      boot it with one program, e.g. make run-testoutput ARGS=100'
	@echo 'make grade         the lab'"'"'s grade: Score: 105/105'
	@echo 'make test          host tests, and on all cards the grade and what goes beyond it'
	@echo 'make bench-icount  guest instructions per operation, against tests/icount.baseline'
	@echo 'make bench         measures it beside Linux; BENCH="--quick --card igb ...", BENCH=--help'
	@echo 'make check         formatting, clippy and documentation, without warnings'
	@echo 'make image         only build $(BUILD)/boot.elf and $(BUILD)/wharf.tar'
	@echo 'make nc-7, nc-80   talk to the running echo server, web server'
	@echo 'make which-ports   where those are on this machine'
	@echo 'make qemu-gdb      as qemu, but wait for `make gdb` in another terminal'
	@echo 'make clean         remove what was built'
	@echo
	@echo 'variables: NIC=e100|igb  WWW=dir to serve  PCAP=file to capture into  MEM=MiB'
	@echo '           ECHO_PORT=  HTTP_PORT=  GDB_PORT=  CMDLINE="ip=... gw=..."'
	@echo '           QEMU=program  QEMUEXTRA="more flags"'
	@echo '           BLESS=1 and STAGES=1 for bench-icount: write the baseline, tell more'

setup:
	@QEMU='$(QEMU)' scripts/setup --quiet

image: setup
	@$(CARGO) build --release -p boot -p kernel -p user --bins
	@scripts/image '$(TARGET)/release' '$(BUILD)' '$(WWW)'

qemu: image
	@scripts/announce '$(NIC)' $(ECHO_PORT) $(HTTP_PORT)
	@exec $(QEMU) $(QEMUFLAGS)

run-%:
	@$(MAKE) --no-print-directory qemu CMDLINE='run=$*$(if $(ARGS),$(comma)$(ARGS)) $(CMDLINE)'

qemu-gdb: image
	@scripts/announce '$(NIC)' $(ECHO_PORT) $(HTTP_PORT) $(GDB_PORT)
	@exec $(QEMU) $(QEMUFLAGS) -S -gdb tcp:127.0.0.1:$(GDB_PORT)

gdb:
	@command -v gdb >/dev/null || { echo 'gdb is missing: install the package gdb, then run make gdb again.' >&2; exit 1; }
	@echo 'The symbols of the kernel are loaded: `hbreak _start`, or any function or line, then `continue`.'
	@echo 'To add those of a program, say httpd: `add-symbol-file $(TARGET)/release/httpd`.'
	@gdb -q -ex 'file $(TARGET)/release/kernel' -ex 'target remote 127.0.0.1:$(GDB_PORT)'

grade: image
	@$(CARGO) run -q -p tests -- grade --nic '$(NIC)' $(HARNESS)

test: image
	@scripts/layout '$(TARGET)/release'
	@$(CARGO) run -q -p tests -- all --nic '$(TESTED)' $(HARNESS)

bench-icount: image
	@$(CARGO) run -q -p tests -- icount --nic '$(TESTED)' $(if $(BLESS),--bless) $(if $(STAGES),--stages) $(HARNESS)

# Wharf, Linux (from Debian's packages, once) and the bare guest.
bench-guests: image
	@QEMU='$(QEMU)' scripts/setup --quiet --bench
	@CARGO='$(CARGO)' scripts/linux-peer '$(BUILD)/linux-peer'
	@$(CARGO) build -q --release -p floor

# What only tells of itself, or of earlier runs, needs no guest.
bench: $(if $(filter --help -h --ranges,$(BENCH)),,bench-guests)
	@$(CARGO) build -q --release -p tests --bin bench
	@'$(TARGET)/release/bench' --qemu '$(QEMU)' --build '$(BUILD)' --bin '$(TARGET)/release' $(BENCH)

HARNESS = --qemu '$(QEMU)' --build '$(BUILD)' --bin '$(TARGET)/release' \
	--www '$(WWW)' $(CASES)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

nc-7:
	@nc 127.0.0.1 $(ECHO_PORT)

nc-80:
	@nc 127.0.0.1 $(HTTP_PORT)

which-ports:
	@echo 'Local port $(ECHO_PORT) is Wharf'"'"'s port 7 (echo server, TCP and UDP)'
	@echo 'Local port $(HTTP_PORT) is Wharf'"'"'s port 80 (web server)'

clean:
	$(CARGO) clean
	rm -rf '$(BUILD)'
