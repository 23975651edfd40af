//! Virtual functions (VFs): how those of a card are turned on, and who drives them.

use super::{AttachError, Attaching, Taken, affordable, for_ever};
use crate::arch::bus::MachineBus;
use crate::arch::timer;
use crate::dma::Arena;
use alloc::vec::Vec;
use kernel::endpoint::{Attached, Interrupts};
use kernel::pci::{self, Function, Header, SrIov};
use nic::igb::{self, SharedHost};
use nic::igbvf;

/// Driver and chip of the virtual functions of an 82576 (82576EB datasheet §9.6), of which a scan finds none.
const NAMES: (&str, &str) = ("igbvf", "Intel 82576 VF");

impl Attaching {
    /// Turns on as many virtual functions of a card as the command line says, and returns them.
    pub(super) fn turn_on_virtual(
        &mut self,
        functions: &[Function],
        function: &Function,
    ) -> Vec<Function> {
        let Attaching {
            config, options, ..
        } = self;
        if options.vfs == 0 {
            return Vec::new();
        }
        let Some(capability) = SrIov::of(config, function) else {
            log::warn!("{}: it has no virtual functions", function.address);
            return Vec::new();
        };
        let port = functions.iter().find(|port| match port.header {
            Header::Bridge(buses) => buses.secondary == function.address.bus(),
            _ => false,
        });
        let Some(port) = port else {
            log::warn!(
                "{}: no root port, so no virtual functions",
                function.address
            );
            return Vec::new();
        };
        let windows = pci::bridge_windows(config, port.address);
        let windows: Vec<_> = windows.into_iter().flatten().collect();
        let behind = functions
            .iter()
            .filter(|other| other.address.bus() == function.address.bus());
        let taken: Vec<_> = behind
            .flat_map(|other| other.bars.iter().flatten())
            .filter(|bar| !bar.is_io())
            .map(|bar| bar.address..bar.address + bar.size)
            .collect();
        let ari = pci::forward_ari(config, port);
        let mut wait = |us| timer::delay_us(us);
        match capability.enable(
            config,
            options.vfs.into(),
            (&windows, &taken),
            ari,
            &mut wait,
        ) {
            Ok(on) => {
                for (number, function) in on.functions.iter().enumerate() {
                    log::info!(
                        "{function}: virtual function {number} of {}",
                        capability.function()
                    );
                    log::info!("    {}", function.resources());
                }
                for (address, problem) in on.problems {
                    log::warn!("{address}: list of capabilities cut short: it {problem}");
                }
                on.functions
            }
            Err(error) => {
                log::error!("{}: no virtual functions: {error}", function.address);
                Vec::new()
            }
        }
    }

    /// Has the driver of virtual functions take one, which this host serves.
    pub(super) fn attach_virtual(
        &mut self,
        function: &Function,
        host: SharedHost<MachineBus>,
    ) -> Option<Attached<Arena>> {
        let mut take = |attaching: &mut Attaching, function: &Function| {
            attach_igbvf(attaching, function, host)
        };
        let (attached, _) = self.attach(function, NAMES, &mut take)?;
        Some(attached)
    }
}

fn attach_igbvf(
    attaching: &mut Attaching,
    function: &Function,
    host: SharedHost<MachineBus>,
) -> Result<Taken, AttachError> {
    let interrupts = attaching.interrupts(function, igbvf::VECTORS);
    let vectors = match interrupts {
        Interrupts::MsiX(vectors) => vectors.count.into(),
        _ => 0,
    };
    let mode = igb::InterruptMode::MsiX { vectors };
    let (long, short) = (igb::Config::long(mode), igb::Config::small(mode));
    let mut config = affordable(&[long, short], igb::Config::least(mode));
    if attaching.options.jumbo {
        config.frame_max = igb::FRAME_JUMBO;
    }
    let bytes = config.arena_size().map_err(AttachError::Driver)?;
    let bus = attaching.bus(function, igbvf::REGISTERS, bytes)?;
    let mut nic = igbvf::driver(bus.hosted_by(host), config).map_err(AttachError::Driver)?;
    let memory = nic.bus().arena();
    Ok(Taken {
        nic: for_ever(nic)?,
        memory,
        interrupts,
        host: None,
    })
}
