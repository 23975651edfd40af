//! One boot of one guest on one wire, and all that is measured of it.

use super::boot::{first_page, v4};
use super::files::{BIG, INDEX};
use super::gauge::{Gauge, Reading, wait_quiet};
use super::guest::{BOOT, NEIGHBOUR, Role, Running, Service, Start};
use super::lab::Lab;
use super::load::{self, Plan};
use super::metric::{Datagrams, Guest, Load, Metric, Neighbour, SMALL, WireKind};
use super::namespace::{segments_resent, tap_frames};
use super::options::Task;
use super::results::{Results, Sample};
use super::udp::{Echo, per_million};
use super::{datagrams, download, tcp};
use crate::{During, Outcome, ensure};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// Memory in MiB of every guest that is measured.
pub const MEMORY: u32 = 256;

/// How long a guest is left alone before it is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// How long to wait for the machine to become quiet before a run is repeated.
const QUIET: Duration = Duration::from_secs(10);

/// Datagrams that a neighbour is asked at once.
const IN_FLIGHT: usize = 32;

/// Figures of one run.
pub type Figures = Vec<(Metric, f64)>;

/// Whose figures are taken, when, and where they go.
pub struct Session<'a> {
    /// The place.
    pub lab: &'a Lab<'a>,
    /// The wire.
    pub wire: WireKind,
    /// The guest.
    pub guest: Guest,
    /// The round, from 1.
    pub round: u32,
    /// Where figures go.
    pub results: &'a mut Results,
}

impl Session<'_> {
    /// Boots the guest and measures those of `tasks` that are about it on this wire.
    pub fn run(&mut self, tasks: &[Task]) {
        let mut running: Option<(Role, Running)> = None;
        for task in tasks {
            if !self.is_about(*task) {
                continue;
            }
            let outcome = self.task(*task, &mut running);
            if let Err(failure) = outcome {
                let name = format!("{task:?}").to_lowercase();
                self.failed(&format!("{name}: {failure}"));
                running = None; // whatever state it is in
            }
        }
    }

    /// Whether a task makes sense with this guest on this wire.
    fn is_about(&self, task: Task) -> bool {
        let wire = match task {
            Task::Boot => self.wire == WireKind::User,
            Task::Idle | Task::Raw | Task::Neighbour => self.wire == WireKind::Tap,
            Task::Echo | Task::Bulk | Task::Http | Task::Download => self.wire != WireKind::Dgram,
            Task::Udp => self.wire == WireKind::Dgram,
            Task::Memory | Task::Image => false,
        };
        let guest = match (task, self.guest) {
            // Beside nginx the same echo server runs as without.
            (Task::Echo | Task::Bulk | Task::Idle | Task::Udp, Guest::Nginx) => false,
            // Walls between services are what virtual functions are for, so each is in its stack.
            (Task::Neighbour, guest) => {
                [Guest::Inside, Guest::Epoll, Guest::Tuned].contains(&guest)
            }
            // Not what makes the difference.
            (Task::Boot | Task::Idle | Task::Raw, Guest::Inside) => false,
            (Task::Boot, guest) => ![Guest::Tuned, Guest::Bare, Guest::Client].contains(&guest),
            (Task::Raw, guest) => {
                [Guest::Wharf, Guest::Epoll, Guest::Tuned, Guest::Bare].contains(&guest)
            }
            // Over the tap it echoes datagrams, over the user network nobody asks for them.
            (Task::Echo, Guest::Bare) => self.wire == WireKind::Tap,
            (Task::Udp, Guest::Bare) => true,
            (Task::Idle, Guest::Client) => false,
            (_, Guest::Client) => self.wire != WireKind::User,
            (_, guest) => Guest::WHARF.contains(&guest) || Guest::PEERS.contains(&guest),
        };
        let card = match (task, self.guest) {
            (Task::Neighbour, _) => self.lab.nic.is_virtual(),
            // What is of the whole machine, or without a driver, is the same as with the card.
            (Task::Boot | Task::Idle | Task::Raw, _) | (_, Guest::Bare | Guest::Client) => {
                !self.lab.nic.is_virtual()
            }
            _ => true,
        };
        wire && guest && card
    }

    fn task(&mut self, task: Task, running: &mut Option<(Role, Running)>) -> Outcome {
        match task {
            Task::Boot => return self.boot(),
            Task::Raw => {
                // Its guests want the tap for themselves.
                *running = None;
                return self.raw();
            }
            Task::Neighbour => {
                *running = None;
                return self.beside();
            }
            _ => {}
        }
        let role = Role::Serve {
            big: self.wire != WireKind::Dgram, // nobody can ask for it there
            inside: match (self.guest, task) {
                (Guest::Inside, Task::Http | Task::Download) => Some(Service::Web),
                (Guest::Inside, _) => Some(Service::Echo),
                _ => None,
            },
        };
        if running.as_ref().is_some_and(|(there, _)| *there != role) {
            *running = None; // before the next, for the tap's sake
        }
        let guest = match running {
            Some((_, guest)) => guest,
            None => &mut running.insert((role, self.start(role)?)).1,
        };
        match task {
            Task::Echo => self.echo(guest),
            Task::Bulk => self.bulk(guest),
            Task::Http => self.http(guest),
            Task::Download => self.download(guest),
            Task::Idle => self.idle(guest),
            Task::Udp => self.udp(guest),
            Task::Boot | Task::Neighbour | Task::Raw | Task::Memory | Task::Image => Ok(()),
        }
    }

    pub(super) fn start(&self, role: Role) -> Outcome<Running> {
        let start = Start {
            guest: self.guest,
            role,
            wire: self.wire,
            memory: MEMORY,
        };
        let running = Running::start(self.lab, &start)?;
        running.wait_ready(BOOT)?;
        // The guest tells what its card lets it tune.
        let lines = running.console.lines();
        if let Some(words) = lines.iter().find(|line| line.starts_with("tuned: ")) {
            self.say(words);
        }
        std::thread::sleep(SETTLE);
        Ok(running)
    }

    /// `full` seconds, or `quick` ones if the run shall be short.
    pub(super) fn seconds(&self, full: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(if self.lab.options.quick { quick } else { full })
    }

    fn boot(&mut self) -> Outcome {
        self.take("power-on to the first page", None, |session, _| {
            let start = Start {
                guest: session.guest,
                role: Role::PLAIN,
                wire: session.wire,
                memory: MEMORY,
            };
            let mut running = Running::start(session.lab, &start)?;
            let gauge = Gauge::start(running.pid())?;
            let took = first_page(&mut running, BOOT)?;
            Ok((vec![(Metric::Boot, took.as_secs_f64())], gauge.read()?))
        })
    }

    fn echo(&mut self, guest: &Running) -> Outcome {
        if self.wire == WireKind::Tap {
            self.datagrams(guest)?;
        }
        if self.guest == Guest::Bare {
            return Ok(()); // it has no TCP
        }
        let duration = self.seconds(10.0, 2.0);
        self.take(
            "echo p50, p99, worst, stalls, lost",
            Some(guest.pid()),
            |session, gauge| {
                let before = segments_resent()?;
                let mut times = tcp::round_trips(guest.echo, duration)?;
                let reading = gauge.read()?;
                let stalls = times.longer_than(tcp::STALL.as_nanos() as u64);
                let mut figures = vec![
                    (Metric::EchoP50, times.percentile(0.5) / 1e3),
                    (Metric::EchoP99, times.percentile(0.99) / 1e3),
                    (Metric::EchoWorst, times.percentile(1.0) / 1e6),
                    (Metric::EchoStalls, stalls as f64),
                ];
                // Elsewhere this machine's TCP ends at QEMU's user network.
                if session.wire == WireKind::Tap {
                    let lost = segments_resent()? - before;
                    figures.push((Metric::EchoLost, lost as f64));
                }
                Ok((figures, reading))
            },
        )
    }

    fn datagrams(&mut self, guest: &Running) -> Outcome {
        let duration = self.seconds(3.0, 1.0);
        self.take("udp by socket p50", Some(guest.pid()), |_, gauge| {
            let mut times = datagrams::round_trips(guest.echo, duration)?;
            let figure = (Metric::DatagramP50, times.percentile(0.5) / 1e3);
            Ok((vec![figure], gauge.read()?))
        })
    }

    /// The first virtual function beside the second, and what that does.
    fn beside(&mut self) -> Outcome {
        for role in [Neighbour::Answers, Neighbour::Sends] {
            let guest = self.start(Role::Beside(role))?;
            if role == Neighbour::Answers {
                self.beside_one(&guest, Neighbour::Silent)?;
            }
            self.beside_one(&guest, role)?;
        }
        Ok(())
    }

    fn beside_one(&mut self, guest: &Running, neighbour: Neighbour) -> Outcome {
        let duration = self.seconds(10.0, 2.0);
        let what = format!("neighbour {}: echo p50, p99", neighbour.name());
        self.take(&what, Some(guest.pid()), |_, gauge| {
            let start = Instant::now();
            let sent = tap_frames()?.0;
            let echo = || tcp::round_trips(guest.echo, duration);
            let (mut times, answered) = match neighbour {
                Neighbour::Answers => datagrams::flooded(NEIGHBOUR, IN_FLIGHT, echo)?,
                _ => (echo()?, 0),
            };
            let reading = gauge.read()?;
            let count = match neighbour {
                Neighbour::Silent => None,
                Neighbour::Answers => Some(answered),
                // Each echo is a frame, too.
                Neighbour::Sends => Some(tap_frames()?.0 - sent - times.count() as u64),
            };
            let mut figures = vec![
                (Metric::BesideP50(neighbour), times.percentile(0.5) / 1e3),
                (Metric::BesideP99(neighbour), times.percentile(0.99) / 1e3),
            ];
            if let Some(count) = count {
                let rate = count as f64 / start.elapsed().as_secs_f64();
                ensure(rate > 0.0, || "the neighbour did nothing".to_owned())?;
                figures.push((Metric::NeighbourRate(neighbour), rate));
            }
            Ok((figures, reading))
        })
    }

    fn bulk(&mut self, guest: &Running) -> Outcome {
        let duration = self.seconds(3.0, 1.5);
        self.take("bulk", Some(guest.pid()), |_, gauge| {
            let rate = tcp::bulk(guest.echo, duration)?;
            Ok((vec![(Metric::Bulk, rate / 1e6)], gauge.read()?))
        })
    }

    fn http(&mut self, guest: &Running) -> Outcome {
        let duration = self.seconds(3.0, 1.0);
        let address = v4(guest.http)?;
        let counts: &[u16] = match self.lab.options.quick {
            true => &[16, 64],
            false => &[1, 16, 64, 256],
        };
        for keep in [true, false] {
            for &connections in counts {
                let plan = Plan {
                    keep,
                    connections,
                    duration,
                };
                // One that fails says nothing about the next.
                if let Err(failure) = self.load(guest, address, &plan) {
                    self.failed(&format!("http: {failure}"));
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, guest: &Running, address: SocketAddrV4, plan: &Plan) -> Outcome {
        let &Plan {
            keep, connections, ..
        } = plan;
        let kind = if keep { "kept" } else { "new" };
        let what = format!("http {kind} x{connections} rate, p50, p99, errors");
        self.take(&what, Some(guest.pid()), |_, gauge| {
            let mut loaded = load::run(address, INDEX, plan)?;
            let reading = gauge.read()?;
            if let Some(why) = &loaded.first_error {
                eprintln!("      {} errors, the first: {why}", loaded.errors);
            }
            let metric = |what| Metric::Http {
                keep,
                connections,
                what,
            };
            let rate = loaded.times.count() as f64 / loaded.seconds;
            let mut figures = vec![
                (metric(Load::Rate), rate),
                (metric(Load::P50), loaded.times.percentile(0.5) / 1e6),
                (metric(Load::P99), loaded.times.percentile(0.99) / 1e6),
                (metric(Load::Errors), loaded.errors as f64),
            ];
            if keep && connections == 64 {
                let answers = loaded.answers.max(1) as f64;
                figures.push((Metric::CpuPerRequest, reading.qemu / answers * 1e3));
            }
            Ok((figures, reading))
        })
    }

    fn download(&mut self, guest: &Running) -> Outcome {
        let duration = self.seconds(2.0, 1.0);
        self.take("download", Some(guest.pid()), |_, gauge| {
            let rate = download::download(guest.http, BIG, duration)?;
            Ok((vec![(Metric::Download, rate / 1e6)], gauge.read()?))
        })
    }

    fn udp(&mut self, guest: &Running) -> Outcome {
        let socket = guest
            .frames
            .as_ref()
            .ok_or("this guest has no raw frames")?;
        for size in [SMALL, 1400] {
            let mut echo = Echo::new(socket, size)?;
            let metric = |what| Metric::Udp { size, what };
            let duration = match size {
                SMALL => self.seconds(10.0, 2.0),
                _ => self.seconds(3.0, 1.0),
            };
            let what = format!("udp {size} p50, lost, stalls");
            self.take(&what, Some(guest.pid()), |_, gauge| {
                let mut singly = echo.singly(duration)?;
                let reading = gauge.read()?;
                let lost = per_million(singly.lost, singly.times.count() as u64);
                let figures = vec![
                    (metric(Datagrams::P50), singly.times.percentile(0.5) / 1e3),
                    (metric(Datagrams::Lost), lost),
                    (metric(Datagrams::Stalls), singly.stalls as f64),
                ];
                Ok((figures, reading))
            })?;
            let duration = self.seconds(3.0, 1.0);
            let what = format!("udp {size} x32 rate, lost");
            self.take(&what, Some(guest.pid()), |_, gauge| {
                let windowed = echo.windowed(32, duration)?;
                let lost = per_million(windowed.lost, windowed.answered);
                let figures = vec![
                    (metric(Datagrams::Rate), windowed.rate),
                    (metric(Datagrams::RateLost), lost),
                ];
                Ok((figures, gauge.read()?))
            })?;
            if size == SMALL {
                let duration = self.seconds(3.0, 1.5);
                self.take(
                    "udp answered of 100,000/s",
                    Some(guest.pid()),
                    |_, gauge| {
                        let flooded = echo.flooded(100_000.0, duration)?;
                        let figures = vec![(metric(Datagrams::Answered), flooded.answered)];
                        Ok((figures, gauge.read()?))
                    },
                )?;
            }
        }
        Ok(())
    }

    fn idle(&mut self, guest: &Running) -> Outcome {
        let duration = self.seconds(5.0, 2.0);
        self.take("idle", Some(guest.pid()), |_, gauge| {
            std::thread::sleep(duration);
            let reading = gauge.read()?;
            Ok((vec![(Metric::Idle, reading.qemu / reading.wall)], reading))
        })
    }

    /// Takes a measurement, again if the machine was too busy with something else, and
    /// keeps the quietest. Without a `pid` the measurement brings its own QEMU.
    pub(super) fn take(
        &mut self,
        what: &str,
        pid: Option<u32>,
        mut measure: impl FnMut(&mut Self, &Gauge) -> Outcome<(Figures, Reading)>,
    ) -> Outcome {
        let options = self.lab.options;
        let own = std::process::id();
        let mut kept: Option<(Figures, Reading)> = None;
        for attempt in 0..=options.retries {
            let gauge = Gauge::start(pid.unwrap_or(own))?;
            let (figures, reading) = measure(self, &gauge)?;
            let is_better = |kept: &(Figures, Reading)| reading.foreign < kept.1.foreign;
            if kept.as_ref().is_none_or(is_better) {
                kept = Some((figures, reading));
            }
            let left = self.lab.repeats.get();
            if reading.foreign <= options.noise || attempt == options.retries || left == 0 {
                break;
            }
            self.lab.repeats.set(left - 1);
            self.say(&format!(
                "{what}: again, {:.2} cores were busy with something else",
                reading.foreign
            ));
            wait_quiet(pid.unwrap_or(own), options.noise, QUIET).during(what)?;
        }
        let Some((figures, reading)) = kept else {
            return Err("nothing was measured".into());
        };
        let noisy = reading.foreign > options.noise;
        let words: Vec<String> = figures
            .iter()
            .map(|(metric, value)| show(*value, metric.unit()))
            .collect();
        let mark = match noisy {
            true => format!("  (too noisy to count: {:.2} cores)", reading.foreign),
            false => String::new(),
        };
        self.say(&format!("{what}: {}{mark}", words.join(", ")));
        for (metric, value) in figures {
            let sample = Sample {
                value,
                round: self.round,
                foreign: reading.foreign,
                noisy,
            };
            let key = (self.lab.nic.name, self.wire, metric);
            self.results.add(key, self.guest, sample);
        }
        Ok(())
    }

    fn failed(&mut self, words: &str) {
        self.say(&format!("FAILED: {words}"));
        let (card, wire, guest) = (self.lab.nic.name, self.wire.name(), self.guest.name());
        let round = self.round;
        self.results
            .failures
            .push(format!("round {round}, {card}, {wire}, {guest}: {words}"));
    }

    fn say(&self, words: &str) {
        let (card, wire, guest) = (self.lab.nic.name, self.wire.name(), self.guest.name());
        eprintln!("[{}] {card} {wire:5} {guest:13} {words}", self.round);
    }
}

/// A value with three or four digits that say something, and its unit.
pub fn show(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_as_many_digits_as_say_something() {
        for (value, text) in [
            (0.0, "0 us"),
            (0.0153, "0.015 us"),
            (2.345, "2.35 us"),
            (45.67, "45.7 us"),
            (123_456.7, "123457 us"),
        ] {
            assert_eq!(show(value, "us"), text);
        }
        assert_eq!(show(3.0, ""), "3.00");
    }
}
