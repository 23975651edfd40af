//! A machine that is attacked, with a client beside the attacker that wants to be served.

use super::{AFTER, DURING};
use crate::beyond::system::{counted, statistics};
use crate::beyond::trouble::both_serve;
use crate::connection::Connection;
use crate::machine::{Machine, Setup};
use crate::suite::Bench;
use crate::wire::Wire;
use crate::{During, Failure, Outcome, ensure, pattern, same_bytes};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Ports of ours that only the client uses.
const PORTS: std::ops::Range<u16> = 40_000..60_000;

/// Both servers, and a cable that the harness has the other end of.
pub struct Scene {
    pub machine: Machine,
    /// When it was booted.
    pub since: Instant,
    client: Client,
    before: BTreeMap<String, u64>,
    sent_before: u64,
}

/// Who wants a page and an echo, now and then.
pub struct Client {
    port: u16,
    page: Vec<u8>,
}

/// The file that the web server answers `/` with.
///
/// # Errors
/// If it is not there.
pub fn page(bench: &Bench) -> Outcome<Vec<u8>> {
    let file = bench.options.www.join("index.html");
    std::fs::read(&file).during(&file.display().to_string())
}

impl Scene {
    /// Boots it and waits until both servers serve.
    ///
    /// # Errors
    /// If they do not.
    pub fn boot(bench: &Bench) -> Outcome<Scene> {
        Scene::boot_from(bench, Setup::on_wire(""))
    }

    /// The same, of another machine on a wire.
    ///
    /// # Errors
    /// As [`Scene::boot`].
    pub fn boot_from(bench: &Bench, mut setup: Setup) -> Outcome<Scene> {
        let since = Instant::now();
        setup.append += " run=echosrv run=httpd run=nicstat,-r,-s,-w";
        let mut machine = bench.boot(&setup)?;
        machine.wait_servers(true, true)?;
        let wire = machine.wire()?;
        wire.resolve()?;
        let mut client = Client::new(bench)?;
        client.serves(wire, AFTER).during("before the attack")?;
        // What was sent before the link was up comes late, or never.
        std::thread::sleep(Duration::from_millis(300));
        wire.drain()?;
        let before = statistics(&machine)?;
        let sent_before = machine.wire()?.sent();
        Ok(Scene {
            machine,
            since,
            client,
            before,
            sent_before,
        })
    }

    /// The cable, and the client at it.
    ///
    /// # Errors
    /// None: it is on a wire.
    pub fn parts(&mut self) -> Outcome<(&mut Wire, &mut Client)> {
        Ok((self.machine.wire()?, &mut self.client))
    }

    /// The client gets a page and an echo while the attack goes on.
    ///
    /// # Errors
    /// If it does not, within the bound.
    pub fn serves_during(&mut self) -> Outcome<Duration> {
        let (wire, client) = self.parts()?;
        client.serves(wire, DURING).during("during the attack")
    }

    /// The same, when the attack is over.
    ///
    /// # Errors
    /// If it does not.
    pub fn serves_after(&mut self) -> Outcome<Duration> {
        let (wire, client) = self.parts()?;
        wire.drain()?;
        client.serves(wire, AFTER).during("after the attack")
    }

    /// It serves, and each frame that the card has received has a counter that says what became of
    /// it. If the attack was `gentle`, so that no ring can have run full, so has each frame that
    /// was sent.
    ///
    /// # Errors
    /// What does not add up.
    pub fn end(mut self, gentle: bool) -> Outcome {
        self.serves_after()?;
        // Until nothing more comes of it: what is asked for again, what is given up.
        let quiet = Duration::from_millis(400);
        let end = Instant::now() + AFTER;
        let wire = self.machine.wire()?;
        while wire.receive(Instant::now() + quiet)?.is_some() && Instant::now() < end {}
        let sent = self.machine.wire()?.sent() - self.sent_before;
        let after = statistics(&self.machine)?;
        let since = |names: &[&str]| -> Outcome<u64> {
            let mut sum = 0;
            for name in names {
                let before = self.before.get(*name).copied().unwrap_or(0);
                // Not every card has every counter.
                sum += counted(&after, name)
                    .unwrap_or(before)
                    .saturating_sub(before);
            }
            Ok(sum)
        };
        let received = since(&["frames_received"])?;
        let verdicts = since(&["frames_delivered", "frames_kept", "frames_dropped"])?;
        let given = since(&["rx_frames"])?;
        let refused = ["rx_dropped_vlan", "rx_dropped_checksum", "rx_dropped_piece"];
        let refused = since(&refused)?;
        let taken = since(&["rx_good_frames"])?;
        let dropped = since(&[
            "rx_dropped_errors",
            "rx_dropped_long",
            "rx_dropped_small_buffer",
            "rx_lost_in_reset",
        ])?;
        let missed = since(&["rx_missed", "rx_no_buffer", "rx_resource_errors"])?;
        let adds_up =
            received == verdicts && given == received + refused && taken == given + dropped;
        let all_came = !gentle || sent + since(&["rx_dropped_long"])? == taken + missed;
        ensure(adds_up && all_came, || {
            format!(
                "frames without a counter: {sent} sent; the card took {taken} and missed {missed}; the \
                 driver dropped {dropped} and gave {given}; {refused} refused; the stack got \
                 {received}, and has {verdicts} verdicts"
            )
        })
    }
}

/// Tries both servers, over QEMU's user network, until they serve. The first SYN may meet a link that
/// is not up, and QEMU repeats it after a while only.
///
/// # Errors
/// What went wrong the last time.
pub fn serve_within(machine: &Machine, within: Duration) -> Outcome {
    let start = Instant::now();
    loop {
        match both_serve(machine) {
            Err(_) if start.elapsed() < within => {}
            served => return served,
        }
    }
}

impl Client {
    /// One who knows the page.
    ///
    /// # Errors
    /// If there is no page.
    pub fn new(bench: &Bench) -> Outcome<Client> {
        Ok(Client {
            port: PORTS.start,
            page: page(bench)?,
        })
    }

    /// Gets the page and an echo, both as they must be, each by a connection of its own. Tries
    /// again until `within` is over.
    ///
    /// # Errors
    /// What went wrong the last time.
    pub fn serves(&mut self, wire: &Wire, within: Duration) -> Outcome<Duration> {
        let start = Instant::now();
        loop {
            match self.once(wire) {
                Ok(()) => return Ok(start.elapsed()),
                Err(_) if start.elapsed() < within => {}
                Err(Failure(why)) => {
                    let seconds = start.elapsed().as_secs();
                    return Err(Failure(format!("nobody served for {seconds} s: {why}")));
                }
            }
        }
    }

    fn once(&mut self, wire: &Wire) -> Outcome {
        let mut web = Connection::open(wire, (self.next_port(), 80)).during("web server")?;
        web.send(
            wire,
            b"GET / HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\r\n",
        )?;
        let head = web.receive_through(wire, b"\r\n\r\n").during("a head")?;
        ensure(head.starts_with(b"HTTP/1.1 200 "), || {
            format!("GET / was answered {:?}", head.escape_ascii().to_string())
        })?;
        let body = web.receive(wire, self.page.len()).during("the page")?;
        same_bytes(&body, &self.page).during("the page")?;
        web.close(wire).during("the page's end")?;
        let port = self.next_port();
        let mut echo = Connection::open(wire, (port, 7)).during("echo server")?;
        echo.echo(wire, &pattern(port.into(), 2000))
            .during("echo")?;
        echo.close(wire).during("the echo's end")
    }

    fn next_port(&mut self) -> u16 {
        self.port += 1;
        if self.port >= PORTS.end {
            self.port = PORTS.start;
        }
        self.port
    }
}
