//! Attacks that are cases of `make test`, in full, and again and again.

use super::Plan;
use super::dice::Dice;
use crate::beyond::{death, flood, hostile, idle, stations};
use crate::suite::{Bench, Case};
use crate::{During, Outcome};
use std::time::Instant;

/// How often the server of one machine dies.
const DEATHS: u16 = 10;

/// The network server dies under load, at moments that the seed chooses.
pub fn deaths(bench: &Bench, plan: &Plan) -> Outcome {
    let mut all = Vec::new();
    plan.lives(bench, || {
        if let Some(mut dice) = plan.next(Instant::now()) {
            all.extend(death::deaths(bench, dice.next(), DEATHS)?);
            plan.count(DEATHS.into());
        }
        Ok(())
    })?;
    bench.note(death::in_words(&all));
    Ok(())
}

/// More stations, SYNs, ARP packets and idle connections than there is room for.
pub fn crowds(bench: &Bench, plan: &Plan) -> Outcome {
    any_of(bench, plan, &[flood::CASES, stations::CASES, idle::CASES])
}

/// Programs that take all that they can get.
pub fn hogs(bench: &Bench, plan: &Plan) -> Outcome {
    any_of(bench, plan, &[hostile::CASES])
}

fn any_of(bench: &Bench, plan: &Plan, groups: &[&[Case]]) -> Outcome {
    plan.lives(bench, || {
        if let Some(mut dice) = plan.next(Instant::now()) {
            let cases: Vec<&Case> = groups.iter().copied().flatten().collect();
            let case = dice.one_of(&cases);
            (case.run)(bench).during(case.name)?;
            plan.count(1);
        }
        Ok(())
    })?;
    bench.note(format!("{} rounds", plan.done()));
    Ok(())
}
