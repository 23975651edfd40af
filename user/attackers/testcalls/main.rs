//! Makes system calls that no sane program makes: the kernel and the servers must refuse what is
//! wrong and go on.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::limits::Limits;
use alloc::string::String;
use attackers::testcalls::{Abuser, Kind, Tally, contract, exchanges, leases};
use core::time::Duration;
use runtime::args::Args;
use runtime::process::{self, Grant};
use runtime::start::Context;
use runtime::{Error, ipc, println, sys, time};

runtime::entry!(
    "\
usage: testcalls[,COUNT[,SEED[,KIND[,TIMES]]]]
  makes system calls that no sane program makes, and tells how many were refused
  COUNT  how many; 10000 if not said
  SEED   which ones; 1 if not said
  KIND   calls      any, with any arguments; this if not said
         exchanges  of card 0's owner, who writes anything into what they share
         tenant     the same of one who has a part of card 0: 10.0.2.200
         contract   of card 0's owner, who knows what each must answer, whatever
                    COUNT and SEED are
         leases     lends memory, its own and not, to a child that misbehaves
         borrower   that child: serves calls until its caller has ended
         hold       takes all buffers of card 0, to send and received, and keeps
                    them for ever
  TIMES  starts itself so often, each time with the next seed, kills every
         second one amid its work, and tells the memory that is free after each;
         after exchanges it starts echosrv and httpd, which need the card",
    options,
    main
);

/// Looks for the network server, 10 ms apart.
const LOOKS: u32 = 50;
/// How long memory may take to come back after a death, in looks 20 ms apart, and after how many
/// that see the same it is taken for all: what a dead one has started ends within 100 ms.
const SETTLING: u32 = 200;
const SAME: u32 = 10;

struct Options {
    count: u32,
    seed: u64,
    kind: Kind,
    times: u32,
}

fn options(args: &mut Args<'_>) -> Result<Options, String> {
    Ok(Options {
        count: args.parsed("count", 10_000)?,
        seed: args.parsed("seed", 1)?,
        kind: args.parsed("kind", Kind::Calls)?,
        times: args.parsed("number of times", 0)?,
    })
}

fn main(options: Options) -> Result<(), String> {
    if options.times > 0 {
        return again_and_again(&options);
    }
    let tally = match options.kind {
        Kind::Calls => calls(&options).context("cannot call")?,
        Kind::Exchanges | Kind::Tenant => {
            let is_tenant = options.kind == Kind::Tenant;
            exchanges::run(options.seed, options.count, is_tenant).context("cannot get the card")?
        }
        Kind::Contract => contract::run().context("cannot go on")?,
        Kind::Leases => leases::lend(options.seed, options.count).context("cannot lend")?,
        Kind::Hold => return exchanges::hold().context("cannot hold the card"),
        Kind::Borrower => return leases::borrow(options.seed).context("cannot borrow"),
    };
    println!(
        "testcalls: {} calls done, {} refused",
        tally.done, tally.refused
    );
    match tally.wrong {
        0 => Ok(()),
        wrong => Err(alloc::format!("{wrong} calls did what they must not")),
    }
}

fn calls(options: &Options) -> runtime::Result<Tally> {
    // The network server, if another program is having it started, should have its card.
    for _ in 0..LOOKS {
        if ipc::lookup("net0").is_ok() {
            break;
        }
        time::sleep(Duration::from_millis(10))?;
    }
    let servers = ["init", "net0"].map(ipc::lookup);
    Ok(Abuser::new(options.seed, servers.into_iter().flatten().collect()).run(options.count))
}

/// Starts itself, and lets it end or ends it.
fn again_and_again(options: &Options) -> Result<(), String> {
    for number in 0..options.times {
        let seed = options.seed.wrapping_add(number.into());
        let args = alloc::format!("{},{seed},{}", options.count, options.kind.name());
        let grant = grant(|left| left.minus(&left.quarter())).context("cannot tell my limits")?;
        let child = process::spawn("testcalls", &args, &grant).context("cannot start myself")?;
        if number % 2 == 1 {
            time::sleep(Duration::from_micros(seed % 20_000)).context("cannot wait")?;
            match process::kill(child) {
                // It may have ended already.
                Ok(()) | Err(Error::NotFound | Error::PeerDied) => {}
                Err(error) => return Err(error).context("cannot end it"),
            }
        }
        process::wait_any().context("cannot wait")?;
        let free = settled().context("cannot tell the free memory")?;
        println!("testcalls: {free} bytes free after {}", number + 1);
    }
    if options.kind == Kind::Exchanges {
        for server in ["echosrv", "httpd"] {
            let grant = grant(Limits::quarter).context("cannot tell my limits")?;
            process::spawn(server, "", &grant).context("cannot start a server")?;
        }
        process::wait_any().context("cannot wait")?;
    }
    Ok(())
}

/// All cards, and a part of what is left of what this program may have.
fn grant(part: impl Fn(&Limits) -> Limits) -> runtime::Result<Grant<'static>> {
    let own = process::own()?;
    let left = own.own_limits().minus(&own.used);
    Ok(Grant {
        limits: part(&left),
        cards: u64::MAX,
        ..Grant::default()
    })
}

/// The free memory when it does not change any more: children of the dead end a little later.
fn settled() -> runtime::Result<u64> {
    let (mut before, mut same) = (0, 0);
    for _ in 0..SETTLING {
        let free = sys::free_memory()?;
        same = if free == before { same + 1 } else { 0 };
        if same == SAME {
            break;
        }
        before = free;
        time::sleep(Duration::from_millis(20))?;
    }
    Ok(before)
}
