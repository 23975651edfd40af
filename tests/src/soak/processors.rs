//! Each kind of processor that QEMU has: one that has what Wharf needs serves, and one that lacks
//! something is told what that is.

use super::scene::serve_within;
use super::{AFTER, Plan};
use crate::machine::{PATIENCE, Setup};
use crate::suite::Bench;
use crate::{During, Outcome, ensure};
use std::process::Command;
use std::time::Instant;

/// Those that cannot run it: without long mode, or without NX (Intel SDM volume 3, §4.1.4).
const LACKING: [&str; 11] = [
    "486", "athlon", "base", "coreduo", "kvm32", "n270", "pentium", "pentium2", "pentium3",
    "qemu32", "base-v1",
];

/// The attack, which is none: all kinds, in an order that the seed chooses.
pub fn processors(bench: &Bench, plan: &Plan) -> Outcome {
    let mut kinds = kinds(bench)?;
    let all = kinds.len();
    let (mut served, mut refused) = (0, 0);
    plan.lives(bench, || {
        while let Some(mut dice) = plan.next(Instant::now()) {
            let kind = kinds.remove(dice.below(kinds.len()));
            let lacking = LACKING.contains(&kind.as_str());
            let done = match lacking {
                true => refuses(bench, &kind).map(|()| refused += 1),
                false => serves(bench, &kind).map(|()| served += 1),
            };
            done.during(&format!("-cpu {kind}"))?;
            plan.count(1);
            if kinds.is_empty() {
                plan.finish();
            }
        }
        Ok(())
    })?;
    bench.note(format!(
        "of {all} kinds {served} serve, {refused} say why not"
    ));
    Ok(())
}

fn serves(bench: &Bench, kind: &str) -> Outcome {
    let mut setup = Setup::new("");
    setup.cpu = Some(kind.to_owned());
    let machine = bench.boot(&setup)?;
    machine.wait_servers(true, true)?;
    serve_within(&machine, AFTER)
}

fn refuses(bench: &Bench, kind: &str) -> Outcome {
    let mut setup = Setup::new("");
    // QEMU refuses an 82576 itself where the processor has no local APIC.
    setup.devices = Some(Vec::new());
    setup.cpu = Some(kind.to_owned());
    let machine = bench.boot(&setup)?;
    let is_end = |line: &str| line.starts_with("boot: ") && line.ends_with("halted");
    let what = "the boot stage's line that says what is missing";
    let line = machine.console.wait_where(0, what, PATIENCE, is_end)?;
    ensure(line.contains("this CPU "), || format!("it says {line:?}"))
}

/// All families that QEMU emulates; `host` is this machine's own.
fn kinds(bench: &Bench) -> Outcome<Vec<String>> {
    let output = Command::new(&bench.options.qemu)
        .args(["-cpu", "help"])
        .output()
        .during("-cpu help")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kinds = families(&text);
    ensure(kinds.len() > 20, || format!("QEMU names only {kinds:?}"))?;
    Ok(kinds)
}

/// The names without a version, of which each stands for its newest one.
fn families(help: &str) -> Vec<String> {
    let lines = help
        .lines()
        .skip_while(|line| !line.starts_with("Available"));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| {
        let (name, about) = line.trim_start().split_once(' ')?;
        let is_family = about.contains("alias configured") || ["base", "max"].contains(&name);
        is_family.then(|| name.to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_found_without_their_versions() {
        let help = "Available CPUs:\n  486                   (alias configured by machine type)\n  \
                    486-v1                \n  EPYC-v1               AMD EPYC Processor\n  \
                    base                  base CPU model\n  host  this machine's\n  \
                    max                   Enables all\n\nRecognized CPUID flags:\n  3dnow aes\n";
        assert_eq!(families(help), ["486", "base", "max"]);
    }
}
