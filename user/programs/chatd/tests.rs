//! The chat with a network that the test plays.

use super::*;
use crate::network::{LISTENER, Network};
use runtime::socket::batch::Events;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;

struct World {
    network: Network,
    chat: Chat,
    operations: Operations<'static>,
    parked: Option<Operations<'static>>,
    now: u64,
    turns: usize,
    most_octets: usize,
    /// What each was sent and the test has not asked for.
    shown: BTreeMap<Handle, Vec<u8>>,
}

impl World {
    fn new() -> Self {
        World {
            network: Network::new(),
            chat: Chat::new(LISTENER),
            operations: Operations::new(&[]),
            parked: None,
            now: 0,
            turns: 0,
            most_octets: 0,
            shown: BTreeMap::new(),
        }
    }

    /// One turn; whether the call returned.
    fn turn(&mut self) -> bool {
        self.network.now = self.now;
        if self.parked.is_none() {
            self.chat.prepare(&mut self.operations, self.now).unwrap();
        }
        let is_due = self.chat.deadline().is_some_and(|at| at <= self.now);
        let (parked, operations) = (&mut self.parked, &mut self.operations);
        let Some((area, done)) = self.network.call(parked, operations, is_due) else {
            return false;
        };
        self.turns += 1;
        for event in Events::new(&area, &done) {
            self.chat.hear(event, self.now);
        }
        self.most_octets = self.most_octets.max(self.chat.log.octets());
        true
    }

    /// Turns until the program sleeps.
    fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("never rests");
    }

    /// The same, while the clock goes on as far as the program waits for it.
    fn run_until(&mut self, end: u64) {
        self.run();
        while let Some(at) = self.chat.deadline().filter(|&at| at <= end) {
            self.now = at;
            self.run();
        }
        self.now = end;
    }

    fn comes(&mut self) -> Handle {
        let socket = self.network.connect();
        self.run();
        socket
    }

    /// Somebody who came, and has been given a name; all have read what was said of that.
    fn person(&mut self, name: &str) -> Handle {
        let socket = self.comes();
        self.types(socket, format!("/name {name}\n"));
        self.now += SECOND;
        self.run();
        let all: Vec<Handle> = self.chat.people.iter().map(|(socket, _)| socket).collect();
        for socket in all {
            self.reads(socket);
        }
        socket
    }

    fn types(&mut self, socket: Handle, text: impl AsRef<[u8]>) {
        self.network.line(socket).send(text);
        self.run();
    }

    /// What somebody was sent since the last time.
    fn reads(&mut self, socket: Handle) -> String {
        let mut shown = self.shown.remove(&socket).unwrap_or_default();
        shown.extend(self.network.line(socket).received());
        String::from_utf8(shown).unwrap()
    }

    fn is_closed(&mut self, socket: Handle) -> bool {
        self.network.line(socket).closed
    }
}

#[test]
fn two_meet_talk_and_part() {
    let mut world = World::new();
    let ann = world.comes();
    let greeting = world.reads(ann);
    assert!(greeting.starts_with("* welcome to Wharf's chat: you are guest1, with 0 others\n"));
    for word in ["/name", "/who", "/help", "/quit"] {
        assert!(greeting.contains(word), "{greeting}");
    }
    world.types(ann, "anybody?\n");
    let bob = world.comes();
    assert!(
        world
            .reads(bob)
            .starts_with("* welcome to Wharf's chat: you are guest2, with 1 other\n")
    );
    assert_eq!(
        world.reads(ann),
        "* guest2 came\n",
        "and its own words are not sent back"
    );
    world.types(ann, "hello\r\n\n  spaces  \nunfin");
    assert_eq!(world.reads(bob), "<guest1> hello\n<guest1>   spaces\n");
    world.types(ann, "ished\n");
    world.types(bob, "grüße, 世界\n");
    assert_eq!(world.reads(bob), "<guest1> unfinished\n");
    assert_eq!(world.reads(ann), "<guest2> grüße, 世界\n");
    world.types(bob, "/quit\nnot said\n");
    assert_eq!(world.reads(bob), "* goodbye\n");
    assert_eq!(world.reads(ann), "* guest2 left\n");
    assert!(world.is_closed(bob) && !world.is_closed(ann));
    assert_eq!(world.chat.here, 1);
}

#[test]
fn names_are_asked_for_refused_in_words_and_told() {
    let mut world = World::new();
    let (ann, bob) = (world.person("ann"), world.person("Bob"));
    for (asked, answer) in [
        ("/name carol", "* you are carol now\n"),
        ("/name BOB", "* BOB is here already: choose another name\n"),
        ("/name", "* a name has 1 to 16 letters, digits, - and _\n"),
        (
            "/name two words",
            "* a name has 1 to 16 letters, digits, - and _\n",
        ),
        (
            "/name grün",
            "* a name has 1 to 16 letters, digits, - and _\n",
        ),
        (
            "/name a2345678901234567",
            "* a name has 1 to 16 letters, digits, - and _\n",
        ),
        (
            "/name  A-2_45678901234z  ",
            "* you are A-2_45678901234z now\n",
        ),
        ("/name a-2_45678901234Z", "* you are a-2_45678901234Z now\n"),
        ("/name guest1", "* you are guest1 now\n"),
        ("/name guest1", "* you are guest1 now\n"),
    ] {
        world.now += SECOND;
        world.types(ann, format!("{asked}\n"));
        assert_eq!(world.reads(ann), answer, "{asked}");
    }
    let told = "* ann is carol now\n* carol is A-2_45678901234z now\n\
                * A-2_45678901234z is a-2_45678901234Z now\n* a-2_45678901234Z is guest1 now\n";
    assert_eq!(world.reads(bob), told);
    let third = world.comes();
    assert!(
        world.reads(third).contains("you are guest2,"),
        "guest1 is somebody"
    );
    world.types(bob, "/who\n");
    assert_eq!(
        world.reads(bob),
        "* guest2 came\n* 3 are here: Bob, guest1, guest2\n"
    );
    world.network.line(third).reset();
    world.run();
    // Its name is free.
    world.types(bob, "/name guest2\n/who\n/help\n/whom\n");
    let answers = world.reads(bob);
    assert!(answers.starts_with(
        "* guest2 left: the connection broke\n* you are guest2 now\n* 2 are here: guest1, guest2\n"
    ));
    assert!(
        answers.contains("*   /quit")
            && answers.ends_with("* there is no /whom; /help tells what there is\n")
    );
}

#[test]
fn who_types_to_the_screens_of_others_types_text_only() {
    let mut world = World::new();
    let (ann, bob) = (world.person("ann"), world.person("bob"));
    let hostile = b"\x1b[2J\x07\xff\xfd\x01a\x00\x7f\xc2\x9b1m\xfe\xe2\x80\xae b\r\r\n\xe2\x80\xae\n/\x1b[2J\n";
    world.types(ann, hostile);
    assert_eq!(world.reads(bob), "<ann> [2Ja1m\u{fffd} b\n");
    assert_eq!(
        world.reads(ann),
        "* there is no /[2J; /help tells what there is\n"
    );
    world.types(ann, format!("{}\nnext\n", "x".repeat(2000)));
    let cut = format!("<ann> {}\n<ann> next\n", "x".repeat(LINE_MAX));
    assert_eq!(world.reads(bob), cut);
    assert_eq!(
        world.reads(ann),
        "* a line has at most 512 octets: yours was cut\n"
    );
}

#[test]
fn who_ends_or_breaks_its_connection_has_left() {
    let mut world = World::new();
    let ann = world.person("ann");
    let (ends, breaks) = (world.person("ends"), world.person("breaks"));
    world.reads(ann);
    // As `printf '...' | nc` does: all of it is done, and answered.
    world.network.line(ends).send("/who\nlast words");
    world.network.line(ends).end();
    world.run();
    assert_eq!(world.reads(ann), "<ends> last words\n* ends left\n");
    assert_eq!(
        world.reads(ends),
        "* 3 are here: ann, breaks, ends\n* goodbye\n"
    );
    world.network.line(breaks).reset();
    world.run();
    assert_eq!(world.reads(ann), "* breaks left: the connection broke\n");
    assert!(world.is_closed(ends) && world.is_closed(breaks));
    assert_eq!((world.chat.people.len(), world.chat.waiting.len()), (1, 0));
    // Who is gone while something is sent to it.
    let late = world.person("late");
    world.network.line(late).reset();
    world.types(ann, "are you there?\n");
    assert_eq!(world.reads(ann), "* late left: the connection broke\n");
    assert!(world.is_closed(late));
}

#[test]
fn a_slow_reader_is_dropped_and_delays_nobody() {
    let mut world = World::new();
    let (ann, bob, slow) = (
        world.person("ann"),
        world.person("bob"),
        world.person("slow"),
    );
    world.network.line(slow).take(1000);
    let mut shown = String::new();
    let mut said = String::new();
    let mut before_it_was_dropped = 0;
    for number in 0..1000 {
        world.now += SECOND;
        let words = format!("{number} {}", "w".repeat(200));
        world.types(ann, format!("{words}\n"));
        said += &format!("<ann> {words}\n");
        // In the very turn in which it was said.
        let fresh = world.reads(bob);
        assert!(fresh.contains(&words), "{number}: {fresh}");
        shown += &fresh;
        // It is heard all the same, until it is dropped.
        if number == 10 {
            world.types(slow, "I am slow\n");
            let fresh = world.reads(bob);
            assert_eq!(fresh, "<slow> I am slow\n");
        }
        if world.chat.here == 3 {
            before_it_was_dropped += words.len();
        }
    }
    let notice = "* slow left: too slow a reader\n";
    assert_eq!(shown.replacen(notice, "", 1), said);
    assert!(shown.contains(notice) && world.is_closed(slow));
    assert!((LOG_MAX / 2..LOG_MAX).contains(&before_it_was_dropped));
    // What it took is the beginning, without a gap.
    let taken = world.reads(slow);
    assert_eq!((taken.len(), said.starts_with(&taken)), (1000, true));
    assert!(world.most_octets < LOG_MAX + 2000, "{}", world.most_octets);
}

#[test]
fn who_is_late_but_takes_gets_everything_in_order() {
    let mut world = World::new();
    let (ann, late) = (world.person("ann"), world.person("late"));
    let mut said = String::new();
    let mut shown = Vec::new();
    for number in 0..2000 {
        // Now and then it takes, and never all.
        if number % 50 == 0 {
            world.network.line(late).take(50 * 60);
        }
        world.now += SECOND;
        let words = format!("{number}.{}", "w".repeat(number % 100));
        world.types(ann, format!("{words}\n"));
        said += &format!("<ann> {words}\n");
        shown.extend(world.network.line(late).received());
    }
    world.network.line(late).take(usize::MAX);
    world.run();
    shown.extend(world.network.line(late).received());
    assert_eq!(world.chat.here, 2);
    assert!(shown == said.as_bytes());
}

#[test]
fn a_flood_of_one_waits_at_its_source_and_others_are_heard_at_once() {
    let mut world = World::new();
    let (ann, bob, flood) = (
        world.person("ann"),
        world.person("bob"),
        world.person("flood"),
    );
    let lines = 400;
    let all: String = (0..lines)
        .map(|number| format!("line {number}\n"))
        .collect();
    let begun = world.now;
    world.types(flood, &all);
    assert_eq!(world.reads(bob).lines().count(), AT_ONCE as usize);
    // The rest is not even read.
    assert!(world.network.line(flood).unread() > all.len() / 2);
    world.types(ann, "I can speak\n");
    assert_eq!(world.reads(bob), "<ann> I can speak\n");
    world.run_until(begun + 10 * SECOND);
    let count = world.reads(bob).lines().count() as u64;
    assert_eq!(count, 10 * SECOND / LINE_NS);
    world.run_until(begun + 60 * SECOND);
    assert!(world.reads(bob).ends_with("<flood> line 399\n"));
    // What is no line costs its time, too.
    let endless = vec![b'x'; 100 * (LINE_MAX + 2)];
    let begun = world.now;
    world.types(flood, &endless);
    assert!(world.network.line(flood).unread() > endless.len() / 2);
    world.run_until(begun + 20 * SECOND);
    assert_eq!(world.network.line(flood).unread(), 0);
}

#[test]
fn all_who_speak_at_once_are_heard_by_all_within_bounds() {
    const COUNT: usize = 200;
    const LINES: usize = 10;
    let mut world = World::new();
    let all: Vec<Handle> = (0..COUNT).map(|_| world.network.connect()).collect();
    world.run();
    for socket in &all {
        world.reads(*socket);
    }
    (world.network.longest_head, world.most_octets) = (0, 0);
    for (number, socket) in all.iter().enumerate() {
        let lines = (0..LINES).map(|line| format!("{number} {line}\n"));
        world.network.line(*socket).send(lines.collect::<String>());
    }
    world.run();
    for (number, socket) in all.iter().enumerate() {
        let shown = world.reads(*socket);
        let mut next = [0; COUNT];
        for line in shown.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (from, line): (usize, usize) =
                (words[1].parse().unwrap(), words[2].parse().unwrap());
            assert_eq!(words[0], format!("<guest{}>", from + 1));
            assert_eq!(line, next[from], "in order");
            next[from] += 1;
        }
        next[number] += LINES;
        assert_eq!(next, [LINES; COUNT]);
    }
    assert!(world.most_octets < LOG_MAX + 2000, "{}", world.most_octets);
    assert!(world.network.longest_head <= TURN_MAX / COUNT);
}

#[test]
fn when_it_is_full_who_comes_is_told_unless_somebody_was_silent_for_long() {
    let mut world = World::new();
    world.chat.places = 3;
    let all = [
        world.person("ann"),
        world.person("bob"),
        world.person("carol"),
    ];
    let late = world.comes();
    assert_eq!(world.reads(late), FULL);
    assert!(world.is_closed(late) && world.chat.here == 3);
    // Nobody is told of somebody who never was there.
    assert_eq!(world.reads(all[0]), "");
    world.now = SILENT_NS - SECOND;
    for socket in [all[0], all[2]] {
        world.types(socket, "still here\n");
    }
    world.now = SILENT_NS + 2 * SECOND;
    let next = world.comes();
    assert!(world.reads(next).contains("you are guest1, with 2 others"));
    assert!(world.reads(all[1]).ends_with(GAVE_WAY) && world.is_closed(all[1]));
    assert!(
        world
            .reads(all[0])
            .ends_with("* bob left: silent for long\n* guest1 came\n")
    );
    let late = world.comes();
    assert_eq!(world.reads(late), FULL);
    // With places, silence is golden.
    world.chat.places = 4;
    world.now += 100 * SILENT_NS;
    world.comes();
    assert_eq!(world.chat.here, 4);
}

#[test]
fn who_comes_again_and_again_waits_for_a_place_in_time() {
    let mut world = World::new();
    let ann = world.person("ann");
    for _ in 0..1000 {
        let socket = world.network.connect();
        world.network.line(socket).end();
    }
    let begun = world.now;
    world.run();
    let came = |text: &str| text.matches("came").count() as u64;
    let first = came(&world.reads(ann));
    assert!(
        (COMERS_AT_ONCE - 1..COMERS_AT_ONCE + ACCEPTS as u64).contains(&first),
        "{first}"
    );
    assert_eq!(world.network.accepting(), 0);
    world.run_until(begun + 5 * SECOND);
    let then = came(&world.reads(ann));
    assert!((200..260).contains(&then), "{then}");
    world.run_until(begun + 60 * SECOND);
    assert_eq!(world.chat.here, 1);
}

#[test]
fn answers_are_as_dear_as_the_lines_that_they_could_be() {
    let mut world = World::new();
    for _ in 0..200 {
        world.comes();
    }
    let asker = world.comes();
    world.reads(asker);
    world.types(asker, "/who\n".repeat(100));
    let answers = world.reads(asker).lines().count() as u64;
    assert!((2..AT_ONCE).contains(&answers), "{answers}");
}

#[test]
fn whoever_leaves_without_taking_the_goodbye_is_not_waited_for() {
    let mut world = World::new();
    let (ann, stuck) = (world.person("ann"), world.person("stuck"));
    world.network.line(stuck).take(0);
    world.types(stuck, "/quit\n");
    // Something else ends the call, and with it the send.
    world.types(ann, "hm\n");
    world.run();
    assert!(world.is_closed(stuck));
    assert_eq!(
        (world.reads(stuck), world.chat.people.len()),
        (String::new(), 1)
    );
}
