//! One QEMU with one of the guests in it. The flags are the same for all guests, and those
//! of `make qemu`, but for where the console and the ports are.

use super::lab::{Lab, linux};
use super::metric::{Guest, Neighbour, WireKind};
use super::namespace::TAP;
use crate::console::Console;
use crate::machine::{accept, end};
use crate::monitor::{Monitor, forwarded_port};
use crate::wire::GUEST_IP;
use crate::{During, Outcome};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that any guest takes until it serves.
pub const BOOT: Duration = Duration::from_secs(60);

/// The guest's own address.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Where the second virtual function of a card serves echo, if it does.
pub const NEIGHBOUR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 16)), 7);

/// Should the benchmark be killed, no guest stays for ever.
const CPU_SECONDS: u32 = 1800;

/// What a guest is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To serve echo and files: with the large one, or only the small.
    Serve {
        /// Whether with the large file.
        big: bool,
        /// What is inside the network server; of Wharf only.
        inside: Option<Service>,
    },
    /// To serve echo by a virtual function, while a second one does this.
    Beside(Neighbour),
    /// To send frames of this size as fast as it can, for ever.
    Send(u16),
    /// To count the frames it receives.
    Count,
}

impl Role {
    /// To serve what is small, as it starts.
    pub const PLAIN: Role = Role::Serve {
        big: false,
        inside: None,
    };
}

/// A service of Wharf's that can be inside its network server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `echosrv`.
    Echo,
    /// `httpd`.
    Web,
}

/// How a guest is started.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which.
    pub guest: Guest,
    /// What for.
    pub role: Role,
    /// What the card is connected to.
    pub wire: WireKind,
    /// Memory in MiB.
    pub memory: u32,
}

/// A running guest, which ends with this value.
pub struct Running {
    child: Child,
    /// When QEMU was started.
    pub power_on: Instant,
    /// The serial console.
    pub console: Console,
    /// Where the echo server is; on raw frames: as on the tap.
    pub echo: SocketAddr,
    /// Where the web server is.
    pub http: SocketAddr,
    /// Our end of the raw frames' wire.
    pub frames: Option<UdpSocket>,
    ready: &'static str,
}

impl Running {
    /// Starts QEMU.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(lab: &Lab, start: &Start) -> Outcome<Running> {
        if start.guest == Guest::Client {
            return Running::start_server(lab, start.wire);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("monitor")?;
        let monitor_port = listener.local_addr()?.port();
        let errors = lab.file("qemu.log");
        let image = lab.image(start.guest, start.role)?;

        // QEMU shall end with the benchmark, however that ends. `setpriv` and `sh` both become
        // what they start, so that the process that is watched is QEMU itself.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c"]);
        command.arg(r#"ulimit -t "$0"; exec "$@""#);
        command.arg(CPU_SECONDS.to_string()).arg(&lab.options.qemu);
        command.args(["-accel", "tcg", "-machine", lab.nic.machine, "-smp", "1"]);
        command.arg("-m").arg(start.memory.to_string());
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(["-chardev", "file,id=com1,path=/dev/fd/1"]);
        command.args(["-serial", "chardev:com1", "-chardev"]);
        command.arg(format!("socket,id=mon,host=127.0.0.1,port={monitor_port}"));
        command.args(["-mon", "chardev=mon,mode=control"]);
        let slot = match lab.nic.is_virtual() {
            true => {
                command.args(["-device", "pcie-root-port,id=rp0,chassis=1,addr=3"]);
                "bus=rp0"
            }
            false => "addr=3",
        };
        command.arg("-device");
        command.arg(format!("{},netdev=n0,{slot},romfile=", lab.nic.device));
        command.arg("-kernel").arg(&image.kernel);
        if let Some(module) = &image.module {
            command.arg("-initrd").arg(module);
        }
        command.args(["-append", &image.append, "-netdev"]);
        command.stdin(Stdio::null());
        let mut frames = None;
        match start.wire {
            WireKind::User => {
                // Port 0: any that is free.
                command.arg("user,id=n0,hostfwd=tcp:127.0.0.1:0-:7,hostfwd=tcp:127.0.0.1:0-:80");
            }
            WireKind::Tap => {
                command.arg(format!("tap,id=n0,ifname={TAP},script=no,downscript=no"));
            }
            WireKind::Dgram => {
                let (ours, qemus) = loopback_pair()?;
                command.arg("dgram,id=n0,local.type=fd,local.str=0");
                command.stdin(OwnedFd::from(qemus));
                frames = Some(ours);
            }
        }
        command
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?);
        let log = File::create(lab.file("serial.log"))?;
        let power_on = Instant::now();
        let mut child = command.spawn().during("starting QEMU")?;
        drop(command); // with our copy of QEMU's end of the wire
        let Some(output) = child.stdout.take() else {
            return Err("QEMU has no output".into());
        };
        let console = Console::follow(output, log);
        let mut running = Running {
            child,
            power_on,
            console,
            echo: (GUEST, 7).into(),
            http: (GUEST, 80).into(),
            frames,
            ready: image.ready,
        };
        let socket = accept(&listener, &mut running.child, &errors)?;
        if start.wire == WireKind::User {
            let usernet = Monitor::new(socket)?.command("info usernet")?;
            let port = |port| forwarded_port(&usernet, "TCP", (GUEST_IP, port));
            running.echo = (Ipv4Addr::LOCALHOST, port(7)?).into();
            running.http = (Ipv4Addr::LOCALHOST, port(80)?).into();
        }
        Ok(running)
    }

    /// Starts the server that the client is measured against where there is no guest.
    fn start_server(lab: &Lab, wire: WireKind) -> Outcome<Running> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        command.arg(linux(lab.options).join("epoll-peer"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut frames = None;
        if wire == WireKind::Dgram {
            let (ours, theirs) = loopback_pair()?;
            command.arg("reflect").stdin(OwnedFd::from(theirs));
            frames = Some(ours);
        } else {
            command.arg("local");
        }
        let power_on = Instant::now();
        let mut child = command.spawn().during("starting the server")?;
        drop(command); // with our copy of its end of the wire
        let Some(output) = child.stdout.take() else {
            return Err("the server has no output".into());
        };
        let ready = "serving on";
        let mut running = Running {
            child,
            power_on,
            console: Console::follow(output, File::create(lab.file("serial.log"))?),
            echo: (Ipv4Addr::LOCALHOST, 0).into(),
            http: (Ipv4Addr::LOCALHOST, 0).into(),
            frames,
            ready,
        };
        let line = running.console.wait_prefix(ready, BOOT)?;
        let mut ports = line.split(' ').filter_map(|word| word.parse::<u16>().ok());
        for address in [&mut running.echo, &mut running.http] {
            address.set_port(ports.next().unwrap_or(0)); // on raw frames there are none
        }
        Ok(running)
    }

    /// QEMU's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the guest says that it has begun with what it is for.
    ///
    /// # Errors
    /// If it does not.
    pub fn wait_ready(&self, patience: Duration) -> Outcome {
        self.console
            .wait_prefix(self.ready, patience)
            .map(|_| ())
            .during("the guest")
    }

    /// Whether QEMU has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
        self.console.finish();
    }
}

/// Two UDP sockets on loopback that are connected to each other.
fn loopback_pair() -> Outcome<(UdpSocket, UdpSocket)> {
    let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let qemus = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    ours.connect(qemus.local_addr()?)?;
    qemus.connect(ours.local_addr()?)?;
    Ok((ours, qemus))
}
