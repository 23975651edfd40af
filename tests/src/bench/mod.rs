//! `make bench`: Wharf and Linux, side by side on the same emulated cards.
//!
//! Absolute times say little on shared machines; ratios of runs that took turns do. So
//! each round boots every guest in turn, with the same flags, on each wire ([`namespace`],
//! [`guest`]), and a [`session`] measures it: small messages and large streams ([`tcp`]),
//! requests ([`load`], [`download`]), and the way to the first page ([`boot`]). A run in which the
//! machine did something else ([`gauge`]) is repeated, and does not count if it stays so.
//! [`results`] makes medians and ratios, [`goals`] says what they must reach.

pub mod boot;
pub mod download;
pub mod files;
pub mod gauge;
pub mod goals;
pub mod guest;
pub mod lab;
pub mod load;
pub mod metric;
pub mod namespace;
pub mod options;
pub mod results;
pub mod session;
pub mod stats;
pub mod table;
pub mod tcp;
pub mod udp;

use crate::Outcome;
use lab::Lab;
use metric::{Guest, WireKind};
use options::{Options, Peer, Task};
use results::Results;
use session::Session;

/// Measures what the command line asks for, prints the table, writes the files. Returns
/// whether all could be measured.
///
/// # Errors
/// If nothing can be measured at all.
pub fn run(options: &Options) -> Outcome<bool> {
    if options.wires.contains(&WireKind::Tap) {
        namespace::enter()?;
    }
    lab::prepare(options)?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for nic in options.nics {
            let lab = Lab { options, nic };
            for &wire in &options.wires {
                let mut guests = guests(options);
                if round % 2 == 0 {
                    // What drifts within a round does not always meet the same guest.
                    guests.reverse();
                }
                for guest in guests {
                    let mut session = Session {
                        lab: &lab,
                        wire,
                        guest,
                        round,
                        results: &mut results,
                    };
                    session.run(&options.tasks);
                }
            }
        }
    }
    print!("{}", table::table(&results));
    let cards: Vec<&'static str> = options.nics.iter().map(|nic| nic.name).collect();
    let (reached, measured) = table::tally(&results, &cards);
    println!("\n{reached} of {measured} goals that were measured are reached");
    Ok(results.failures.is_empty())
}

/// Who takes turns.
fn guests(options: &Options) -> Vec<Guest> {
    let mut guests = vec![Guest::Wharf];
    for (peer, pvh, packed) in [
        (Peer::Epoll, Guest::Epoll, Guest::EpollBzImage),
        (Peer::Nginx, Guest::Nginx, Guest::NginxBzImage),
    ] {
        if options.peers.contains(&peer) {
            guests.push(pvh);
            if options.tasks.contains(&Task::Boot) {
                guests.push(packed);
            }
        }
    }
    guests
}
