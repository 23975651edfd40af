//! Finding every function: from bus 0, and other root buses, through every bridge, depth first,
//! so that what is behind a bridge is listed right after it.
//!
//! Bus numbers are taken as firmware assigned them. A bridge that has none, or has a bus
//! that was visited before, is reported and not entered: each bus is visited once, so the
//! scan ends whatever the bridges say. The way down is kept in a `Vec`, not on the stack.

use alloc::vec;
use alloc::vec::Vec;

use super::capability::CapabilityId;
use super::config::{Address, ConfigSpace, DEVICES, FUNCTIONS};
use super::function::{FUNCTIONS_MAX, Function, Header, Problem, header_type};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Every function, in the order in which it was found.
    pub functions: Vec<Function>,
    /// What was odd and passed over.
    pub problems: Vec<Problem>,
}

/// Finds and describes every function that can be reached. To be called once, before any
/// driver runs: sizing the BARs stops a function from decoding for a moment.
pub fn scan(config: &mut impl ConfigSpace) -> Scan {
    let mut scanner = Scanner {
        config,
        visited: [false; 256],
        found: Scan::default(),
    };
    scanner.root(0);
    // Where the host bridge has several functions, function N is the host bridge of a
    // root bus N.
    for number in 1..FUNCTIONS {
        let host_bridge = scanner.found.functions.iter().any(|function| {
            function.address == Address::new(0, 0, number)
                && (function.class, function.subclass) == (6, 0)
        });
        if host_bridge && !scanner.visited[usize::from(number)] {
            scanner.root(number);
        }
    }
    // Where another device of bus 0 is a host bridge, too, there may be more root buses, and
    // which is said by firmware's AML only, which nobody here interprets. QEMU's pxb and
    // pxb-pcie show themselves so. What the buses behind them have is found from their roots,
    // whose numbers are lower.
    let is_another_host = |function: &Function| {
        (function.class, function.subclass) == (6, 0)
            && function.address.bus() == 0
            && function.address.device() != 0
    };
    if scanner.found.functions.iter().any(is_another_host) {
        for bus in 1..=u8::MAX {
            if matches!(scanner.found.problems.last(), Some(Problem::TooMany(_))) {
                break;
            }
            if !scanner.visited[usize::from(bus)] && scanner.has_somebody(bus) {
                scanner.root(bus);
            }
        }
    }
    scanner.found
}

struct Scanner<'a, C: ConfigSpace> {
    config: &'a mut C,
    visited: [bool; 256],
    found: Scan,
}

impl<C: ConfigSpace> Scanner<'_, C> {
    /// Whether there is any device on a bus.
    fn has_somebody(&mut self, bus: u8) -> bool {
        (0..DEVICES).any(|device| self.config.is_there(Address::new(bus, device, 0)))
    }

    /// Everything on a root bus and behind its bridges.
    fn root(&mut self, bus: u8) {
        self.visited[usize::from(bus)] = true;
        let mut path = vec![Cursor::new(bus, DEVICES)];
        while let Some(cursor) = path.last_mut() {
            let Some(address) = cursor.next() else {
                path.pop();
                continue;
            };
            let function = Function::read(self.config, address, &mut self.found.problems);
            if address.function() == 0
                && (function.is_none() || header_type(self.config, address) & 0x80 == 0)
            {
                cursor.skip_device();
            }
            let Some(function) = function else { continue };
            if self.found.functions.len() == FUNCTIONS_MAX {
                self.found.problems.push(Problem::TooMany(address));
                return;
            }
            path.extend(self.behind(&function));
            self.found.functions.push(function);
        }
    }

    /// The bus behind a function, if it is a bridge to one not visited yet.
    fn behind(&mut self, function: &Function) -> Option<Cursor> {
        let Header::Bridge(buses) = function.header else {
            return None;
        };
        if buses.secondary == 0 || buses.secondary > buses.subordinate {
            let problem = Problem::NoBuses(function.address, buses);
            self.found.problems.push(problem);
            return None;
        }
        let visited = &mut self.visited[usize::from(buses.secondary)];
        if *visited {
            let problem = Problem::BusTwice(function.address, buses.secondary);
            self.found.problems.push(problem);
            return None;
        }
        *visited = true;
        // A PCI Express link has one device at its other end, and some answer as all 32.
        let devices = if self.is_downstream_port(function) {
            1
        } else {
            DEVICES
        };
        Some(Cursor::new(buses.secondary, devices))
    }

    /// Whether the function is a root port or a switch's downstream port, by the
    /// Device/Port Type in its PCI Express Capabilities register (PCIe 6.0 §7.5.3.2).
    fn is_downstream_port(&mut self, function: &Function) -> bool {
        const ROOT_PORT: u32 = 0b0100;
        const DOWNSTREAM_PORT: u32 = 0b0110;
        function
            .capability(CapabilityId::PCI_EXPRESS)
            .is_some_and(|capability| {
                let register = self.config.read32(function.address, capability.offset);
                matches!(register >> 20 & 0xf, ROOT_PORT | DOWNSTREAM_PORT)
            })
    }
}

/// Where the scan is on one bus.
struct Cursor {
    bus: u8,
    devices: u8,
    device: u8,
    function: u8,
}

impl Cursor {
    fn new(bus: u8, devices: u8) -> Self {
        Cursor {
            bus,
            devices,
            device: 0,
            function: 0,
        }
    }

    /// The next address to look at.
    fn next(&mut self) -> Option<Address> {
        if self.device == self.devices {
            return None;
        }
        let address = Address::new(self.bus, self.device, self.function);
        self.function += 1;
        if self.function == FUNCTIONS {
            self.skip_device();
        }
        Some(address)
    }

    /// Passes over what is left of the current device.
    fn skip_device(&mut self) {
        self.device += 1;
        self.function = 0;
    }
}
