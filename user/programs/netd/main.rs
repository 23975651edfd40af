//! A network server: the stack of one card, or one of several that share it; with `with=` it is that
//! service as well: the stack and its user in one address space.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::netd::{Network, Own, Settings};
use programs::{echosrv, httpd};
use runtime::args::Args;
use runtime::socket::{Server, own};
use runtime::start::{self, Context, Failure, Stack};

runtime::entry!(
    "\
usage: netd[,CARD][,WORD...][,stack=NAME]
  serves the sockets of the programs of one stack
  CARD                 as the kernel counts them; 0 if not said
  ip=A.B.C.D/BITS      its address; 10.0.2.15/24 if not said
  gw=A.B.C.D, gw=none  the router for other networks
  ipv6=off             speaks no IPv6; a stack that shares its card never does
  stack=NAME           shares the card with other stacks: takes the frames to
                       its address; if not said, it has the card to itself
  whole                has the card to itself, though it has a name
  mac=STATION          a station address of its own on a shared card
  vlan=NUMBER          all frames carry this VLAN's tag
  with=SERVICE         echosrv or httpd: runs that service itself as well",
    options,
    main
);

struct Options {
    card: u8,
    settings: Settings,
    service: Option<Service>,
}

enum Service {
    Echo,
    Web,
}

fn options(args: &mut Args<'_>) -> Result<Options, String> {
    let mut options = Options {
        card: args.parsed("card number", 0)?,
        settings: Settings::default(),
        service: None,
    };
    while let Some(word) = args.next() {
        match word.split_once('=') {
            Some(("with", "echosrv")) => options.service = Some(Service::Echo),
            Some(("with", "httpd")) => options.service = Some(Service::Web),
            _ if options.settings.take(word)? => {}
            _ => return Err(args.unknown(word)),
        }
    }
    Ok(options)
}

fn main(options: Options) -> Result<(), Failure> {
    let Options {
        card,
        settings,
        service,
    } = options;
    let stack = match start::stack() {
        // Without a name it is called by its card.
        Stack::FIRST => Stack::from(card),
        named => named,
    };
    let mut network = Network::start(card, stack, &settings)?;
    let find = move || Server::of(stack);
    let result = match service {
        None => network.serve().context("the card failed"),
        Some(service) => {
            own::install(Own::new(stack, network));
            match service {
                Service::Echo => echosrv::program::run(find),
                Service::Web => httpd::program::run(find),
            }
        }
    };
    result.map_err(Failure::Now)
}
