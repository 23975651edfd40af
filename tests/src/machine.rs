//! One QEMU with Wharf in it: how it is started, where its ports are, how it ends.
//!
//! The flags are those of the Makefile, but for what a test needs otherwise: the
//! console on a pipe, the monitor on a socket, ports that QEMU itself finds free.

use crate::account::{self, Account};
use crate::console::{Console, END_OF_RUN};
use crate::debugger::Debugger;
use crate::frames::Ip;
use crate::monitor::{Monitor, forwarded_port};
use crate::nic::Nic;
use crate::qtest::Qtest;
use crate::wire::{GUEST_IP, Wire};
use crate::{During, Failure, Outcome};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the next line, frame or answer of the guest may take. It only bounds how long a
/// failure takes, so that one of a driver that does nothing yet is told of while it is still
/// watched: everything waits for events.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The same where the guest has work to do, or a clock to wait for, and tells nothing of it.
pub const LONG: Duration = Duration::from_secs(60);

/// CPU time after which the kernel of this machine ends a QEMU, as the lab's grader had
/// it: should the harness be killed, a guest that spins does not stay for ever.
const CPU_SECONDS: u32 = 300;

/// The TCP ports that are forwarded to each of [`Setup::stacks`].
const STACK_PORTS: [u16; 2] = [7, 80];

/// What QEMU starts from.
#[derive(Clone, Debug)]
pub struct Image {
    /// The ELF file for `-kernel`.
    pub boot: PathBuf,
    /// The tar for `-initrd`, if any.
    pub module: Option<PathBuf>,
}

/// What the card is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// QEMU's user network, with the servers' ports forwarded from this machine.
    User,
    /// Raw frames to and from the harness.
    Wire,
}

/// How to start a machine.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The kernel command line.
    pub append: String,
    /// What to start; `None`: what `make image` built.
    pub image: Option<Image>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// What the card is connected to.
    pub net: Net,
    /// On the user network, the addresses of stacks beside the usual one, whose TCP ports 7 and 80 are
    /// forwarded, too: see [`Machine::stack_port`].
    pub stacks: Vec<Ip>,
    /// More properties of the card, each with a comma before it.
    pub card_properties: String,
    /// QEMU's machine type; `None`: the card's usual one.
    pub machine: Option<&'static str>,
    /// Whether the card is behind a PCIe root port instead of in the lab's slot, 00:03.0.
    pub behind_port: bool,
    /// The processor, as `-cpu` names it.
    pub cpu: Option<String>,
    /// Whether the test wants a hand in the machine: see [`Machine::qtest`].
    pub qtest: bool,
    /// Whether the test wants a hand on the processor: see [`Machine::debugger`].
    pub debugger: bool,
    /// What is in the machine instead of the card, as `-device` names it; `None`: the card.
    pub devices: Option<Vec<String>>,
    /// The contents of the card's ROM, which has none otherwise.
    pub rom: Option<PathBuf>,
    /// Whether the machine's clock counts its instructions, a nanosecond each, while it is
    /// at work.
    pub icount: bool,
    /// Whether the machine starts again when it is reset, where QEMU otherwise ends.
    pub reboots: bool,
    /// What QEMU shall trace, as `-trace` names it, into its log: see [`Machine::traced`].
    pub trace: Option<&'static str>,
}

impl Setup {
    /// The usual machine with this kernel command line, on the user network.
    pub fn new(append: &str) -> Setup {
        Setup {
            append: append.to_owned(),
            image: None,
            memory_mib: 64,
            net: Net::User,
            stacks: Vec::new(),
            card_properties: String::new(),
            machine: None,
            behind_port: false,
            qtest: false,
            debugger: false,
            rom: None,
            devices: None,
            icount: false,
            reboots: false,
            trace: None,
            cpu: None,
        }
    }

    /// The same, on raw frames.
    pub fn on_wire(append: &str) -> Setup {
        Setup {
            net: Net::Wire,
            ..Setup::new(append)
        }
    }

    /// The same, started from `image`.
    pub fn from_image(self, image: Image) -> Setup {
        Setup {
            image: Some(image),
            ..self
        }
    }
}

/// Where a machine keeps its files, which QEMU runs it, and with which card.
pub struct Place<'a> {
    /// The QEMU program.
    pub qemu: &'a str,
    /// The card.
    pub nic: &'a Nic,
    /// The directory of the files.
    pub dir: &'a Path,
    /// Tells the files of several machines in one directory apart.
    pub number: u32,
}

impl Place<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}-{name}", self.number))
    }
}

/// The ports of this machine that lead to the guest's servers.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// To TCP port 7.
    pub echo_tcp: u16,
    /// To UDP port 7.
    pub echo_udp: u16,
    /// To TCP port 80.
    pub http: u16,
    /// To TCP port 6667.
    pub chat: u16,
}

/// A running QEMU, which ends with this value.
pub struct Machine {
    child: Child,
    /// When QEMU was started.
    pub power_on: Instant,
    /// The serial console.
    pub console: Console,
    /// QEMU's monitor.
    pub monitor: Monitor,
    qtest: Option<Qtest>,
    debugger: Option<Debugger>,
    ports: Option<Ports>,
    stacks: BTreeMap<(Ip, u16), u16>,
    wire: Option<Wire>,
    capture: PathBuf,
    errors: PathBuf,
}

impl Machine {
    /// Starts QEMU. Its files in the directory are `N-serial.log`, `N-qemu.log` (its
    /// standard error) and `N-frames.pcap`.
    ///
    /// # Errors
    /// If QEMU does not start.
    pub fn start(setup: &Setup, image: &Image, place: &Place) -> Outcome<Machine> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("monitor");
        let (listener, qtest_listener, gdb_listener) = (listen()?, listen()?, listen()?);
        let monitor_port = listener.local_addr()?.port();
        let capture = place.file("frames.pcap");
        let errors = place.file("qemu.log");

        // `exec`, so that the process the harness holds is QEMU itself.
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -t "$0"; exec "$@""#]);
        command.arg(CPU_SECONDS.to_string()).arg(place.qemu);
        command.args([
            "-accel",
            "tcg",
            "-machine",
            setup.machine.unwrap_or(place.nic.machine),
            "-smp",
            "1",
            "-m",
        ]);
        command.arg(setup.memory_mib.to_string());
        command.args(["-nodefaults", "-display", "none"]);
        if !setup.reboots {
            command.arg("-no-reboot");
        }
        command.args(["-chardev", "file,id=com1,path=/dev/fd/1"]);
        command.args(["-serial", "chardev:com1", "-chardev"]);
        command.arg(format!("socket,id=mon,host=127.0.0.1,port={monitor_port}"));
        command.args(["-mon", "chardev=mon,mode=control"]);
        if setup.icount {
            command.args(["-icount", "shift=0,sleep=on"]);
        }
        if setup.qtest {
            let port = qtest_listener.local_addr()?.port();
            command.arg("-chardev");
            command.arg(format!("socket,id=qtest,host=127.0.0.1,port={port}"));
            command.args(["-qtest", "chardev:qtest", "-qtest-log", "none"]);
        }
        if setup.debugger {
            let port = gdb_listener.local_addr()?.port();
            command.arg("-chardev");
            command.arg(format!("socket,id=gdb,host=127.0.0.1,port={port}"));
        }
        // The registers of virtual functions are placed in a root port's window.
        let slot = if setup.behind_port || place.nic.is_virtual() {
            command.args(["-device", "pcie-root-port,id=rp0,chassis=1,addr=3"]);
            "bus=rp0"
        } else {
            "addr=3"
        };
        let rom = setup.rom.as_deref().unwrap_or(Path::new(""));
        let card = format!(
            "{},netdev=n0,{slot},romfile={}{}",
            place.nic.device,
            rom.display(),
            setup.card_properties
        );
        for device in setup.devices.as_ref().unwrap_or(&vec![card]) {
            command.args(["-device", device]);
        }
        // Whatever use of a device makes no sense to QEMU: see `suite::is_misuse`.
        command.args(["-d", "guest_errors", "-trace", "e1000e_wrn_regs_*_unknown"]);
        command.args(["-trace", "e1000e_wrn_regs_write_ro", "-trace", "igb_wrn_*"]);
        if let Some(trace) = setup.trace {
            command.args(["-trace", trace]);
        }
        if let Some(cpu) = &setup.cpu {
            command.args(["-cpu", cpu]);
        }
        command.arg("-object").arg(format!(
            "filter-dump,id=d0,netdev=n0,file={}",
            capture.display()
        ));
        command.arg("-kernel").arg(&image.boot);
        if let Some(module) = &image.module {
            command.arg("-initrd").arg(module);
        }
        let append = format!("{} {}", place.nic.words, setup.append);
        command.args(["-append", append.trim_start()]);
        let mut wire = None;
        match setup.net {
            Net::User => {
                // Port 0: any that is free.
                let stacks = setup.stacks.iter().flat_map(|ip| {
                    let ip = Ipv4Addr::from(*ip);
                    STACK_PORTS.map(|port| format!(",hostfwd=tcp:127.0.0.1:0-{ip}:{port}"))
                });
                let stacks: String = stacks.collect();
                command.arg("-netdev").arg(format!(
                    "user,id=n0,hostfwd=tcp:127.0.0.1:0-:7,\
                     hostfwd=udp:127.0.0.1:0-:7,hostfwd=tcp:127.0.0.1:0-:80,\
                     hostfwd=tcp:127.0.0.1:0-:6667{stacks}"
                ));
                command.stdin(Stdio::null());
            }
            Net::Wire => {
                // Not UDP on loopback: that loses frames of a burst before QEMU sees them.
                let (ours, qemus) = UnixDatagram::pair()?;
                command.args(["-netdev", "dgram,id=n0,local.type=fd,local.str=0"]);
                command.stdin(OwnedFd::from(qemus));
                let mut end = Wire::new(ours)?;
                // Its driver asks for all groups or none (`configure` in kernel/nic/src/e100/mod.rs).
                end.takes_all_groups = place.nic.device == "i82559er";
                wire = Some(end);
            }
        }
        command
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?);
        let log = File::create(place.file("serial.log"))?;
        let power_on = Instant::now();
        let mut child = command.spawn().during("starting QEMU")?;
        drop(command); // with our copy of QEMU's end of the wire
        let Some(output) = child.stdout.take() else {
            return Err("QEMU has no output".into());
        };
        let console = Console::follow(output, log);
        let connected = (|| {
            let mut monitor = Monitor::new(accept(&listener, &mut child, &errors)?)?;
            let debugger = match setup.debugger {
                true => {
                    let socket = accept(&gdb_listener, &mut child, &errors)?;
                    monitor.command("gdbserver chardev:gdb")?;
                    Some(Debugger::new(socket)?)
                }
                false => None,
            };
            let qtest = match setup.qtest {
                true => Some(Qtest::new(accept(&qtest_listener, &mut child, &errors)?)?),
                false => None,
            };
            Ok((monitor, qtest, debugger))
        })();
        let (monitor, qtest, debugger) = match connected {
            Ok(connected) => connected,
            Err(failure) => {
                end(&mut child);
                return Err(failure);
            }
        };
        let mut machine = Machine {
            child,
            power_on,
            console,
            monitor,
            qtest,
            debugger,
            ports: None,
            stacks: BTreeMap::new(),
            wire,
            capture,
            errors,
        };
        if setup.net == Net::User {
            let usernet = machine.monitor.command("info usernet")?;
            let port = |protocol, port| forwarded_port(&usernet, protocol, (GUEST_IP, port));
            machine.ports = Some(Ports {
                echo_tcp: port("TCP", 7)?,
                echo_udp: port("UDP", 7)?,
                http: port("TCP", 80)?,
                chat: port("TCP", 6667)?,
            });
            for ip in &setup.stacks {
                for port in STACK_PORTS {
                    let forwarded = forwarded_port(&usernet, "TCP", (*ip, port))?;
                    machine.stacks.insert((*ip, port), forwarded);
                }
            }
        }
        Ok(machine)
    }

    /// The ports of the user network.
    ///
    /// # Errors
    /// If the machine is on a wire.
    pub fn ports(&self) -> Outcome<Ports> {
        Ok(self.ports.ok_or("this machine has no forwarded ports")?)
    }

    /// The port that leads to TCP port `port` of the stack at `ip`, of [`Setup::stacks`].
    ///
    /// # Errors
    /// If none does.
    pub fn stack_port(&self, ip: Ip, port: u16) -> Outcome<u16> {
        let forwarded = self.stacks.get(&(ip, port)).copied();
        Ok(forwarded.ok_or("no port is forwarded to that stack")?)
    }

    /// The other end of the card's cable.
    ///
    /// # Errors
    /// If the machine is on the user network.
    pub fn wire(&mut self) -> Outcome<&mut Wire> {
        Ok(self.wire.as_mut().ok_or("this machine is on no wire")?)
    }

    /// A hand in the machine.
    ///
    /// # Errors
    /// If it was started without.
    pub fn qtest(&mut self) -> Outcome<&mut Qtest> {
        let qtest = self.qtest.as_mut();
        Ok(qtest.ok_or("this machine was started without qtest")?)
    }

    /// A hand on the processor.
    ///
    /// # Errors
    /// If it was started without.
    pub fn debugger(&mut self) -> Outcome<&mut Debugger> {
        let debugger = self.debugger.as_mut();
        Ok(debugger.ok_or("this machine was started without a debugger")?)
    }

    /// The kernel's account of time: see [`Account`].
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn account(&mut self) -> Outcome<Account> {
        // An NMI that comes while the kernel is at work is lost.
        const TRIES: usize = 25;
        for _ in 0..TRIES {
            let from = self.console.mark();
            self.monitor.command("nmi")?;
            let soon = Duration::from_millis(200);
            let told = self
                .console
                .wait_where(from, account::END, soon, |line| line == account::END);
            if told.is_ok() {
                return Account::read(&self.console.lines());
            }
        }
        Err("no account from the kernel within 5 s of NMIs".into())
    }

    /// Waits until the servers that were started say that they serve.
    ///
    /// # Errors
    /// If one does not.
    pub fn wait_servers(&self, echo: bool, http: bool) -> Outcome {
        if echo {
            self.console.wait_line("bound", PATIENCE)?;
        }
        if http {
            self.console
                .wait_prefix("Waiting for http connections", PATIENCE)?;
        }
        Ok(())
    }

    /// Waits until all programs of the command line have ended.
    ///
    /// # Errors
    /// If they do not.
    pub fn wait_end_of_run(&self) -> Outcome {
        self.console
            .wait_line(END_OF_RUN, PATIENCE)
            .during("the programs that run")
            .map(drop)
    }

    /// A connection to a forwarded port whose reads and writes end in bounded time.
    ///
    /// # Errors
    /// If there is nobody.
    pub fn connect(&self, port: u16) -> Outcome<TcpStream> {
        let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)
            .during("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What the processor does, in the monitor's words, for a failure: a machine that hangs tells
    /// nothing itself.
    pub fn whereabouts(&mut self) -> String {
        let registers = match self.monitor.command("info registers") {
            Ok(registers) => registers,
            Err(Failure(why)) => return why,
        };
        let words = registers.split_whitespace();
        let wanted = ["RIP=", "RSP=", "CR2=", "CR3=", "CPL=", "HLT="];
        let told = words.filter(|word| wanted.iter().any(|name| word.starts_with(name)));
        format!("the processor: {}", told.collect::<Vec<_>>().join(" "))
    }

    /// CPU time QEMU has used so far.
    ///
    /// # Errors
    /// If this machine has no `/proc`.
    pub fn cpu_time(&self) -> Outcome<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).during(&path)?;
        cpu_time(&stat).ok_or_else(|| Failure(format!("{path} reads {stat:?}")))
    }

    /// How long QEMU's threads and this one could have run so far, and did not, because something
    /// else on this machine did: the second number of `schedstat` (proc(5)), in nanoseconds.
    ///
    /// # Errors
    /// If this machine has no `/proc`.
    pub fn held_up(&self) -> Outcome<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let threads = std::fs::read_dir(&tasks).during(&tasks)?;
        let threads = threads.filter_map(|thread| Some(thread.ok()?.path()));
        // A thread of QEMU's may have ended meanwhile.
        let waited = threads
            .chain(["/proc/thread-self".into()])
            .filter_map(|thread| std::fs::read_to_string(thread.join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(Duration::from_nanos(waited.sum()))
    }

    /// How many lines that begin with `event` QEMU has traced so far.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub fn traced(&self, event: &str) -> Outcome<usize> {
        let log = std::fs::read(&self.errors).during("QEMU's log")?;
        let lines = log.split(|byte| *byte == b'\n');
        Ok(lines
            .filter(|line| line.starts_with(event.as_bytes()))
            .count())
    }

    /// Ends QEMU and returns all frames that passed the card.
    ///
    /// # Errors
    /// If the capture is not whole.
    pub fn captured(self) -> Outcome<Vec<Vec<u8>>> {
        let path = self.capture.clone();
        drop(self);
        crate::pcap::read(&path)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.child);
        self.console.finish();
    }
}

pub(crate) fn end(child: &mut Child) {
    // Both fail only if QEMU has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

pub(crate) fn accept(
    listener: &TcpListener,
    child: &mut Child,
    errors: &Path,
) -> Outcome<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            let words = std::fs::read_to_string(errors).unwrap_or_default();
            return Err(Failure(format!("QEMU ended ({status}): {}", words.trim())));
        }
        if Instant::now() > deadline {
            let seconds = PATIENCE.as_secs();
            return Err(Failure(format!(
                "QEMU did not connect its monitor within {seconds} s"
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// User and system time of a line of `/proc/PID/stat` (proc(5): fields 14 and 15, in
/// ticks of which Linux tells user space 100 a second).
pub(crate) fn cpu_time(stat: &str) -> Option<Duration> {
    // The program's name, in parentheses, may itself hold spaces and parentheses.
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 250 17 3 4 20 0 3 0 1 2 3";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(2670)));
        assert_eq!(cpu_time("7 (qemu) S 1"), None);
        assert_eq!(cpu_time(""), None);
    }
}
