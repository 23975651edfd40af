//! A service in the network server itself: one address space for the stack and its user.

use super::echo::{late, many_clients, megabyte, udp};
use super::trouble::both_serve;
use super::web::{busy, download, pipelined};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome};
use std::thread;

pub const CASES: &[Case] = &[
    Case::new("udp and tcp echo, 64 clients, some who read late", echo),
    Case::new("10 MiB download", |bench| download(bench, WEB)),
    Case::new("keep-alive and 100 pipelined requests", |bench| {
        pipelined(bench, WEB)
    }),
    Case::new("a slow download beside 24 busy connections", |bench| {
        busy(bench, WEB)
    }),
    Case::new("other programs are served beside it", beside),
    Case::new("a service that it does not know", unknown).once(),
];

const ECHO: &str = "run=netd,0,with=echosrv";
const WEB: &str = "run=netd,0,with=httpd";

fn boot(bench: &Bench, append: &str, web: bool) -> Outcome<Machine> {
    let machine = bench.boot(&Setup::new(append))?;
    machine.wait_servers(true, web)?;
    Ok(machine)
}

fn echo(bench: &Bench) -> Outcome {
    let machine = boot(bench, ECHO, false)?;
    udp(&machine)?;
    megabyte(bench, &machine)?;
    many_clients(&machine, 64)?;
    late(&machine)
}

/// The one inside may be busy without end, and the one outside is heard all the same.
fn beside(bench: &Bench) -> Outcome {
    for append in [
        "inside=echosrv".to_owned(),
        format!("{WEB} run=echosrv run=nicstat,-r"),
    ] {
        let machine = &boot(bench, &append, true)?;
        both_serve(machine).during(&append)?;
        thread::scope(|scope| {
            let others = scope.spawn(|| {
                (0..20).try_for_each(|_| both_serve(machine).during(&format!("{append}, busy")))
            });
            for _ in 0..8 {
                megabyte(bench, machine)?;
            }
            let died = |_| Err("a thread died".into());
            others.join().unwrap_or_else(died)
        })?;
    }
    Ok(())
}

fn unknown(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=netd,0,with=ftpd"))?;
    let line = "netd: argument 2: `with=ftpd` is unknown";
    machine.console.wait_line(line, PATIENCE).map(|_| ())
}
