# Wharf's verbs. `make` alone lists them. What a verb takes more than a line for
# is in scripts/; what the tests do is in tests/.

# ------------------------------------------------------------------ variables
NIC   ?= e100
WWW   ?= www
MEM   ?= 64
# QEMU's usual processor, with the instructions that random numbers come from.
CPU   ?= qemu64,+rdrand,+rdseed
QEMU  ?= qemu-system-x86_64
GDB   ?= gdb

# As in the lab, the ports follow from the user id, so that users do not meet.
GDB_PORT  ?= $(shell expr `id -u` % 5000 + 25000)
ECHO_PORT ?= $(shell expr $(GDB_PORT) + 1)
HTTP_PORT ?= $(shell expr $(GDB_PORT) + 2)
CHAT_PORT ?= $(shell expr $(GDB_PORT) + 3)
STACK_PORT ?= $(shell expr $(GDB_PORT) + 10)

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO  ?= cargo
comma  := ,

# What is built, and where it goes: with DEBUG=1 for gdb, beside the usual.
DEBUGGED := $(filter 1,$(DEBUG))
ifdef DEBUGGED
PROFILE := --config .cargo/debugging.toml --profile debugging
BIN     := $(TARGET)/debugging
BUILD   ?= build/debugging
else ifneq ($(and $(filter command line,$(origin DEBUG)),$(filter-out 0,$(DEBUG))),)
$(error DEBUG=$(DEBUG): it can be 1)
else
PROFILE := --release
BIN     := $(TARGET)/release
BUILD   ?= build
endif
MEASURING := $(filter bench%,$(MAKECMDGOALS))
ifneq ($(and $(DEBUGGED),$(MEASURING)),)
$(error make $(MEASURING) measures what is optimised: leave DEBUG=1 out)
endif

# Per card, from scripts/cards: QEMU's machine, and the flags that put the card into it.
CARDS := $(shell awk 'NF >= 9 && $$1 ~ /^[a-z0-9]/ { print $$1 }' scripts/cards)
column = $(shell awk 'NF >= 9 && $$1 == "$(NIC)" { print $$$(1) }' scripts/cards)
# An IOMMU in front of it: only a q35 takes one.
ifneq ($(filter-out 0 1,$(IOMMU)),)
$(error IOMMU=$(IOMMU): it can be 1)
endif
UNIT = $(if $(filter 1,$(IOMMU)),-device intel-iommu)
MACHINE = $(if $(UNIT),q35,$(call column,4))
CARD = $(UNIT) $(CARD_$(call column,5)),netdev=n0,romfile=
CARD_slot = -device $(call column,2),addr=3
CARD_port = -device pcie-root-port,id=rp0,chassis=1,addr=3 -device $(call column,2),bus=rp0
ifeq ($(filter $(NIC),$(CARDS)),)
$(error NIC=$(NIC): Wharf drives no such card; it knows: $(CARDS))
endif
override CMDLINE := $(strip $(patsubst -,,$(call column,8)) $(CMDLINE))
# `make test` takes all cards, unless it is given one.
TESTED := $(if $(filter file,$(origin NIC)),all,$(NIC))

# What attacks is in an image of its own: user/attackers.
MODULE ?= wharf

# Where the chat runs, a port of this machine leads to it.
ifneq ($(filter run=chatd,$(CMDLINE)),)
override FORWARD := $(CHAT_PORT):6667 $(FORWARD)
endif

# Several stacks on the card and on its virtual functions, each with an address of its own: see
# scripts/stacks.
ifneq ($(STACKS)$(VFS),)
ALL_STACKS := '$(or $(STACKS),1)' '$(or $(VFS),0)' '$(STACK_PORT)'
STACK_WORDS := $(shell scripts/stacks words $(ALL_STACKS))
$(if $(STACK_WORDS),,$(error STACKS=$(STACKS) can be 1 to 16, and VFS=$(VFS) 0 to 7))
override CMDLINE := $(strip $(STACK_WORDS) $(CMDLINE))
override FORWARD := $(strip $(shell scripts/stacks forward $(ALL_STACKS)) $(FORWARD))
endif

QEMUFLAGS = -accel tcg -machine $(MACHINE) -cpu $(CPU) -smp 1 -m $(MEM) \
	-nodefaults -display none -no-reboot -serial mon:stdio \
	-netdev user,id=n0,hostfwd=tcp:127.0.0.1:$(ECHO_PORT)-:7,hostfwd=udp:127.0.0.1:$(ECHO_PORT)-:7,hostfwd=tcp:127.0.0.1:$(HTTP_PORT)-:80$$(scripts/forward --qemu '$(FORWARD)') \
	$(CARD) \
	$(if $(PCAP),-object filter-dump$(comma)id=d0$(comma)netdev=n0$(comma)file=$(PCAP)) \
	-kernel $(BUILD)/boot.elf -initrd $(BUILD)/$(MODULE).tar -append "$(CMDLINE)" \
	$(QEMUEXTRA)

ANNOUNCE = @DEBUG='$(DEBUGGED)' scripts/announce '$(NIC)' '$(ECHO_PORT)' '$(HTTP_PORT)' '$(CMDLINE)' '$(1)' '$(FORWARD)'

# ---------------------------------------------------------------------- verbs
.PHONY: help setup image qemu qemu-gdb gdb grade test soak bench bench-guests bench-icount placement check nc-7 nc-80 nc-6667 which-ports clean

help:
	@echo 'make qemu          boot Wharf in the foreground: echo server and web server'
	@echo 'make run-NAME      boot it with one program, e.g. make run-testoutput ARGS=100'
	@echo 'make grade         the lab'"'"'s grade: Score: 105/105'
	@echo 'make test          host tests, and on all cards the grade and what goes beyond it'
	@echo 'make soak          attacks by a seed on all cards, for less than 30 minutes'
	@echo 'make bench-icount  guest instructions per operation, against tests/icount.baseline'
	@echo 'make placement     counts which functions are busy, and lists them in placement/ for the linker'
	@echo 'make bench         measures it beside Linux; BENCH="--quick --card igb ...", BENCH=--help'
	@echo 'make check         formatting, clippy and documentation, without warnings'
	@echo 'make image         only build $(BUILD)/boot.elf, $(BUILD)/wharf.tar and attackers.tar'
	@echo 'make nc-7, nc-80   talk to the running echo server, web server'
	@echo 'make nc-6667       talk in the chat, which make run-chatd starts'
	@echo 'make which-ports   where those are on this machine'
	@echo 'make qemu-gdb      as qemu, but wait for `make gdb` in another terminal; both with DEBUG=1'
	@echo 'make clean         remove what was built'
	@echo
	@echo 'variables: NIC=$(subst $(eval ) ,|,$(CARDS))  WWW=dir to serve  PCAP=file to capture into  MEM=MiB  CPU=model'
	@echo '           ECHO_PORT=  HTTP_PORT=  CHAT_PORT=  GDB_PORT=  CMDLINE="ip=... gw=..."'
	@echo '           MODULE=attackers  the image that the programs of user/attackers are in, too'
	@echo '           FORWARD=HOST:GUEST,udp:HOST:GUEST,...  more ports of this machine to Wharf'
	@echo '           STACKS=1 to 16  stacks that share the card, with the ports from STACK_PORT= on'
	@echo '           VFS=0 to 7  virtual functions of the igb, with a stack on each, at the ports that follow'
	@echo '           IOMMU=1  a q35 with an IOMMU, which keeps the card to its own memory'
	@echo '           DEBUG=1  built for gdb: its variables are there, and lines where they are expected'
	@echo '           CASES="WORD ..." for grade, test and soak: those with a WORD in their name alone'
	@echo '           SEED=number and MINUTES=number for soak: what it chooses by, how long it takes'
	@echo '           QEMU=program  QEMUEXTRA="more flags"  GDB=program'
	@echo '           BLESS=1 and STAGES=1 for bench-icount: write the baseline, tell more'

setup:
	@QEMU='$(QEMU)' scripts/setup --quiet

image: setup
	@$(CARGO) build $(PROFILE) -p boot -p kernel -p programs -p attackers --bins
	@scripts/image '$(BIN)' '$(BUILD)' '$(WWW)'

qemu: image
	$(ANNOUNCE)
	@exec $(QEMU) $(QEMUFLAGS)

run-%:
	@$(MAKE) --no-print-directory qemu $(if $(wildcard user/attackers/$*),MODULE=attackers) \
		CMDLINE='run=$*$(if $(ARGS),$(comma)$(ARGS)) $(CMDLINE)'

# gdb finds programs where they were linked.
qemu-gdb: override CMDLINE := $(strip layout=fixed $(CMDLINE))
qemu-gdb: image
	$(call ANNOUNCE,$(GDB_PORT))
	@exec $(QEMU) $(QEMUFLAGS) -S -gdb tcp:127.0.0.1:$(GDB_PORT)

gdb:
	@command -v '$(GDB)' >/dev/null || { echo 'gdb is missing: run scripts/setup --gdb, then make gdb again.' >&2; exit 1; }
	@test -f '$(BIN)/kernel' || { echo 'There is no $(BIN)/kernel: first run make qemu-gdb$(if $(DEBUGGED), DEBUG=1) in another terminal.' >&2; exit 1; }
	@echo 'The symbols of the kernel are loaded: `break kernel::main`, or any function or line, then `continue`.'
	@echo 'To add those of a program, say httpd: `add-symbol-file $(BIN)/httpd`. Programs have the same'
	@echo 'addresses, so another one may stop where this one was to.'
	$(if $(DEBUGGED),,@echo 'Optimised code has few variables left: make qemu-gdb DEBUG=1 and make gdb DEBUG=1 show them.')
	@'$(GDB)' -q -ex 'file $(BIN)/kernel' -ex 'target remote 127.0.0.1:$(GDB_PORT)'

grade: image
	@$(CARGO) run -q -p tests -- grade --nic '$(NIC)' $(HARNESS)

test: image
	$(if $(DEBUGGED),,@scripts/layout '$(BIN)')
	@$(CARGO) run -q -p tests -- all --nic '$(TESTED)' $(HARNESS)

soak: image
	@$(CARGO) run -q -p tests -- soak --nic '$(TESTED)' $(if $(SEED),--seed '$(SEED)') $(if $(MINUTES),--minutes '$(MINUTES)') $(HARNESS)

bench-icount: image
	@$(CARGO) run -q -p tests -- icount --nic '$(TESTED)' $(if $(BLESS),--bless) $(if $(STAGES),--stages) $(HARNESS)

# A list that is out of date costs nothing but speed.
placement: image
	@$(CARGO) run -q -p tests -- placement $(HARNESS)

# Wharf, Linux (from Debian's packages, once) and the bare guest.
bench-guests: image
	@QEMU='$(QEMU)' scripts/setup --quiet --bench
	@CARGO='$(CARGO)' scripts/linux-peer '$(BUILD)/linux-peer'
	@$(CARGO) build -q --release -p floor

# What only tells of itself, or of earlier runs, needs no guest.
bench: $(if $(filter --help -h --ranges,$(BENCH)),,bench-guests)
	@$(CARGO) build -q --release -p tests --bin bench
	@'$(TARGET)/release/bench' --qemu '$(QEMU)' --build '$(BUILD)' --bin '$(TARGET)/release' $(BENCH)

HARNESS = --qemu '$(QEMU)' --build '$(BUILD)' --bin '$(BIN)' \
	--www '$(WWW)' $(foreach word,$(CASES),'$(word)')

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

nc-7:
	@nc 127.0.0.1 $(ECHO_PORT)

nc-80:
	@nc 127.0.0.1 $(HTTP_PORT)

nc-6667:
	@nc 127.0.0.1 $(CHAT_PORT)

which-ports:
	@echo 'Local port $(ECHO_PORT) is Wharf'"'"'s port 7 (echo server, TCP and UDP)'
	@echo 'Local port $(HTTP_PORT) is Wharf'"'"'s port 80 (web server)'
	@echo 'Local port $(CHAT_PORT) is Wharf'"'"'s port 6667 (chat, with make run-chatd)'

clean:
	$(CARGO) clean
	rm -rf '$(BUILD)'
