//! Machines that are stopped, unplugged and reset, and machines of all sizes.

use super::dice::Dice;
use super::scene::{Scene, page, serve_within};
use super::{AFTER, DURING, Plan};
use crate::grade::web;
use crate::machine::{Machine, Setup};
use crate::suite::Bench;
use crate::{During, Failure, Outcome, ensure, same_bytes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a file that is served while things happen.
const FILE: usize = 2 << 20;

/// The machine stands still for a moment, again and again, while a page is got from it.
pub fn pauses(bench: &Bench, plan: &Plan) -> Outcome {
    plan.lives(bench, || {
        let mut scene = Scene::boot(bench)?;
        while let Some(mut dice) = plan.next(scene.since) {
            for _ in 0..4 {
                scene.machine.monitor.command("stop")?;
                thread::sleep(Duration::from_millis(dice.one_of(&[0, 1, 20, 200, 700])));
                // What is sent meanwhile waits, or is lost.
                let (wire, _) = scene.parts()?;
                for number in 0..dice.below(8) {
                    wire.send_datagram((9, 7), &[number as u8; 100])?;
                }
                scene.machine.monitor.command("cont")?;
                scene.serves_after().during("after a pause")?;
                plan.count(1);
            }
        }
        scene.end(false)
    })?;
    bench.note(format!("{} pauses", plan.done()));
    Ok(())
}

/// The cable comes and goes while a connection is to go on: all of its bytes come.
pub fn flaps(bench: &Bench, plan: &Plan) -> Outcome {
    plan.lives(bench, || {
        let mut scene = Scene::boot(bench)?;
        while let Some(mut dice) = plan.next(scene.since) {
            let other = scene.machine.wire()?.another()?;
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                // A load beside it, whose answers nobody needs.
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed)
                        && other.send_datagram((9, 7), &[7; 200]).is_ok()
                    {
                        thread::sleep(Duration::from_micros(500));
                    }
                });
                let flapped = (0..10).try_for_each(|_| {
                    scene.machine.monitor.command("set_link n0 off")?;
                    thread::sleep(Duration::from_millis(dice.one_of(&[0, 1, 10, 40])));
                    scene.machine.monitor.command("set_link n0 on")?;
                    thread::sleep(Duration::from_millis(dice.one_of(&[0, 1, 10, 40])));
                    plan.count(1);
                    Outcome::Ok(())
                });
                stop.store(true, Ordering::Relaxed);
                flapped
            })?;
            scene.serves_during().during("after ten flaps")?;
        }
        scene.end(false)
    })?;
    bench.note(format!("{} flaps", plan.done()));
    Ok(())
}

/// The machine is reset at any moment, and must come up and serve each time.
pub fn resets(bench: &Bench, plan: &Plan) -> Outcome {
    let file = crate::pattern(3, FILE);
    plan.lives(bench, || {
        let since = Instant::now();
        let image = bench.image_serving(&[("index.html", &page(bench)?), ("file", &file)])?;
        let mut setup = Setup::new("").from_image(image);
        setup.reboots = true;
        let mut machine = bench.boot(&setup)?;
        let mut mark = 0;
        while let Some(mut dice) = plan.next(since) {
            if dice.one_in(4) {
                // Amid its boot.
                thread::sleep(Duration::from_millis(dice.below(400) as u64));
            } else {
                comes_up(&mut machine, mark)?;
                thread::scope(|scope| {
                    // A download that is cut off, unless it is faster.
                    scope.spawn(|| web(&machine).and_then(|mut client| client.get("/file", "")));
                    thread::sleep(Duration::from_millis(dice.below(60) as u64));
                });
            }
            mark = machine.console.mark();
            machine.monitor.command("system_reset")?;
            plan.count(1);
        }
        comes_up(&mut machine, mark)?;
        serve_within(&machine, AFTER).during("after the last reset")?;
        let response = web(&machine)?.get("/file", "")?.expect(200)?;
        same_bytes(&response.body, &file)
    })?;
    bench.note(format!("{} resets", plan.done()));
    Ok(())
}

/// Waits for both servers, on the console from `mark` on. Other work on the machine that QEMU runs on
/// may hold up the measurement of clocks, of which the boot makes many before it gives up.
fn comes_up(machine: &mut Machine, mark: usize) -> Outcome {
    for line in ["bound", "Waiting for http connections"] {
        let is_up = |told: &str| told.starts_with(line);
        if let Err(Failure(why)) = machine.console.wait_where(mark, line, DURING, is_up) {
            return Err(Failure(format!("{why}; {}", machine.whereabouts())));
        }
    }
    Ok(())
}

/// Machines of all sizes serve.
pub fn sizes(bench: &Bench, plan: &Plan) -> Outcome {
    const SIZES: [u32; 10] = [8, 9, 12, 16, 24, 48, 127, 512, 1024, 3000];
    let mut sizes = SIZES.to_vec();
    let mut served = Vec::new();
    plan.lives(bench, || {
        while let Some(mut dice) = plan.next(Instant::now()) {
            // All of them once; then any.
            let any = dice.between(8, 2000) as u32;
            let memory_mib = sizes.pop().unwrap_or(any);
            let machine = bench.boot(&Setup {
                memory_mib,
                ..Setup::new("")
            })?;
            let serves = machine
                .wait_servers(true, true)
                .and_then(|()| serve_within(&machine, AFTER));
            serves.during(&format!("with {memory_mib} MiB"))?;
            served.push(memory_mib);
            plan.count(1);
        }
        ensure(!served.is_empty(), || "no machine was tried".to_owned())
    })?;
    bench.note(format!("{} sizes", served.len()));
    Ok(())
}
