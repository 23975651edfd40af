//! `init` on a system played by the test, with a virtual clock.

use super::program::SETTLED_NS;
use super::*;
use abi::limits::Resource;

const SECOND: u64 = 1_000_000_000;

#[derive(Default)]
struct Fake {
    started: Vec<(String, String)>,
    replies: Vec<(u64, Result<Pid>)>,
    said: Vec<String>,
    registered: Option<Pid>,
    shares: Vec<Share>,
    refuse: Option<Error>,
    /// How many were started mute, and who was heard again.
    mute: usize,
    heard: Vec<Pid>,
}

impl System for Fake {
    fn virtual_function(&self, number: u8) -> Result<u8> {
        // Behind two other cards there are two of them.
        match number {
            0 | 1 => Ok(2 + number),
            _ => Err(Error::NotFound),
        }
    }

    fn spawn(&mut self, name: &str, args: &str, is_mute: bool, share: &Share) -> Result<Pid> {
        assert!(self.limits()?.0.covers(&share.limits), "{share:?}");
        self.shares.push(share.clone());
        if !self.programs()?.iter().any(|known| known == name) {
            return Err(Error::NotFound);
        }
        if let Some(error) = self.refuse {
            return Err(error);
        }
        self.mute += usize::from(is_mute);
        self.started.push((name.into(), args.into()));
        Ok(Pid(self.started.len() as u32 + 1))
    }

    fn limits(&self) -> Result<(Limits, Limits)> {
        let all = Limits::of_machine(58 << 20);
        Ok((all, all))
    }

    fn lookup(&mut self, name: &str) -> Result<Pid> {
        let is_known = ["net0", "netweb", "netlab", "netother"].contains(&name);
        assert!(is_known, "{name}");
        let registered = self.registered.filter(|_| name == "net0");
        registered.ok_or(Error::NotFound)
    }

    fn reply(&mut self, token: u64, answer: Result<Pid>) {
        self.replies.push((token, answer));
    }

    fn say(&mut self, line: core::fmt::Arguments<'_>) {
        self.said.push(line.to_string());
    }

    fn unmute(&mut self, program: Pid) -> Result<()> {
        self.heard.push(program);
        Ok(())
    }

    fn programs(&self) -> Result<Vec<String>> {
        Ok(["echosrv", "hello", "httpd", "netd"]
            .map(String::from)
            .to_vec())
    }
}

fn started(command_line: &str) -> Supervisor<Fake> {
    Supervisor::start(Fake::default(), &CommandLine::parse(command_line), 0)
}

fn names(supervisor: &Supervisor<Fake>) -> Vec<&str> {
    let started = &supervisor.system.started;
    started.iter().map(|(name, _)| name.as_str()).collect()
}

const ASK: [u8; Request::SIZE] = {
    let mut bytes = [0; Request::SIZE];
    bytes[0] = 1;
    bytes[1] = b'0';
    bytes
};

fn ask(stack: &str) -> [u8; Request::SIZE] {
    let stack = stack.parse().unwrap();
    Request::NetworkServer { stack }.to_bytes()
}

#[test]
fn the_command_line_comes_apart() {
    let line = CommandLine::parse(
        "log=debug run=testoutput,100,burst  run=hello ip=10.0.0.5/8 gw=10.0.0.1 nic.irq=x quiet\n",
    );
    // The kernel looks after its own words.
    assert_eq!(line.unknown, ["log=debug", "quiet"]);
    let run = |name, args, limits| Run { name, args, limits };
    let runs = [run("testoutput", "100,burst", ""), run("hello", "", "")];
    assert_eq!(line.runs, runs);
    assert_eq!(line.network, ["ip=10.0.0.5/8", "gw=10.0.0.1"]);
    assert_eq!(CommandLine::parse(""), CommandLine::default());
    let line = CommandLine::parse("run=a limits=memory:8M,processes:3 run=b,c limits= run=d");
    let limits = "memory:8M,processes:3";
    let runs = [run("a", "", ""), run("b", "c", limits), run("d", "", "")];
    assert_eq!(line.runs, runs);
}

#[test]
fn without_a_run_the_system_serves() {
    let supervisor = started("gw=10.0.2.3 ip=10.0.2.16/24");
    assert_eq!(names(&supervisor), ["netd", "echosrv", "httpd"]);
    assert_eq!(
        supervisor.system.started[0].1,
        "0,gw=10.0.2.3,ip=10.0.2.16/24"
    );
    assert_eq!(supervisor.deadline(0), FOREVER);
}

#[test]
fn a_service_inside_the_network_server_is_no_program_and_starts_again_with_it() {
    let mut supervisor = started("inside=echosrv ip=10.0.2.16/24");
    assert_eq!(names(&supervisor), ["netd", "httpd"]);
    let args = "0,ip=10.0.2.16/24,with=echosrv";
    assert_eq!(supervisor.system.started[0].1, args);
    supervisor.on_death(Pid(2), Exit::Fault(14), 0);
    supervisor.on_time(RESTART_NS.0);
    assert_eq!(names(&supervisor), ["netd", "httpd", "netd"]);
    assert_eq!(supervisor.system.started[2].1, args);
    let supervisor = started("inside=ftpd");
    assert_eq!(names(&supervisor), ["netd", "echosrv", "httpd"]);
    let said = &supervisor.system.said;
    assert_eq!(said, &["inside= wants echosrv or httpd: ignored"]);
}

#[test]
fn a_run_starts_that_and_nothing_else() {
    let mut supervisor = started("run=hello,a,b run=hello");
    assert_eq!(names(&supervisor), ["hello", "hello"]);
    assert_eq!(supervisor.system.started[0].1, "a,b");
    supervisor.on_death(Pid(3), Exit::Code(0), 5);
    assert_eq!(supervisor.system.said, ["hello ended: exit code 0"]);
    supervisor.on_death(Pid(2), Exit::Fault(14), 6);
    assert_eq!(
        supervisor.system.said[1..],
        [
            "hello ended: page fault (exception 14)",
            "nothing left to run"
        ]
    );
    assert_eq!(supervisor.deadline(6), FOREVER);
}

#[test]
fn an_unknown_word_is_told_with_those_there_are() {
    let supervisor = started("runn=hello inside=httpd gateway=10.0.2.2");
    let said = &supervisor.system.said;
    assert_eq!(said.len(), 2);
    let begin = "command line: `runn=hello` is unknown; there are run=NAME[,ARG...], limits=";
    assert!(said[0].starts_with(begin), "{}", said[0]);
    assert!(said[1].contains("`gateway=10.0.2.2`"), "{}", said[1]);
    assert_eq!(names(&supervisor), ["netd", "echosrv"]);
}

#[test]
fn an_unknown_program_is_named_with_those_there_are() {
    let supervisor = started("run=helo");
    assert_eq!(
        supervisor.system.said,
        [
            "no program `helo`; bin/ has: echosrv, hello, httpd, netd",
            "nothing left to run"
        ]
    );
}

#[test]
fn a_network_server_is_started_once_and_answered_when_registered() {
    let mut supervisor = started("run=echosrv run=httpd ip=10.0.2.9/24");
    supervisor.on_request(7, &ASK, 0);
    supervisor.on_request(8, &ASK, 0);
    assert_eq!(names(&supervisor), ["echosrv", "httpd", "netd"]);
    assert_eq!(supervisor.system.started[2].1, "0,ip=10.0.2.9/24");
    assert_eq!(supervisor.deadline(50), 50 + LOOK_NS);
    supervisor.on_time(LOOK_NS);
    assert!(supervisor.system.replies.is_empty());
    supervisor.system.registered = Some(Pid(4));
    supervisor.on_time(2 * LOOK_NS);
    assert_eq!(
        supervisor.system.replies,
        [(7, Ok(Pid(4))), (8, Ok(Pid(4)))]
    );
    assert_eq!(supervisor.deadline(0), FOREVER);
    supervisor.on_request(9, &ASK, 0);
    assert_eq!(supervisor.system.replies[2], (9, Ok(Pid(4))));
    // It is no program of a run: its end does not count, and it is not started again
    // before somebody asks.
    supervisor.system.registered = None;
    supervisor.on_death(Pid(4), Exit::Killed, 0);
    assert_eq!(supervisor.system.said, ["netd ended: killed"]);
    assert_eq!(supervisor.deadline(0), FOREVER);
    supervisor.on_request(10, &ASK, 0);
    assert_eq!(names(&supervisor).len(), 4);
}

#[test]
fn a_server_that_dies_or_never_registers_is_an_error() {
    let mut supervisor = started("run=httpd");
    supervisor.on_request(1, &ASK, 0);
    supervisor.on_death(Pid(3), Exit::Code(1), 1);
    assert_eq!(supervisor.system.replies, [(1, Err(Error::PeerDied))]);
    supervisor.on_request(2, &ASK, 10);
    supervisor.on_time(SERVER_WAIT_NS);
    assert_eq!(supervisor.system.replies.len(), 1);
    supervisor.on_time(10 + SERVER_WAIT_NS);
    assert_eq!(supervisor.system.replies[1], (2, Err(Error::TimedOut)));
    supervisor.system.refuse = Some(Error::NoMemory);
    supervisor.on_death(Pid(4), Exit::Code(1), 11);
    supervisor.on_request(3, &ASK, 12);
    assert_eq!(supervisor.system.replies[2], (3, Err(Error::NotFound)));
}

#[test]
fn hostile_requests_are_refused_and_bounded() {
    let mut supervisor = started("run=httpd");
    supervisor.on_request(1, &[], 0);
    supervisor.on_request(2, &[99, 0], 0);
    supervisor.on_request(3, &[1, 200], 0);
    assert_eq!(
        supervisor.system.replies,
        [
            (1, Err(Error::Malformed)),
            (2, Err(Error::NoSuchCall)),
            (3, Err(Error::Malformed))
        ]
    );
    for token in 0..100 {
        supervisor.on_request(100 + token, &ASK, 0);
    }
    assert_eq!(supervisor.system.replies.len(), 3 + 100 - WAITING_MAX);
    assert_eq!(
        supervisor.system.replies[3],
        (100 + WAITING_MAX as u64, Err(Error::Busy))
    );
    supervisor.on_death(Pid(1234), Exit::Killed, 0);
}

#[test]
fn services_are_started_again_ever_more_slowly() {
    let mut supervisor = started("");
    let mut now = 0;
    let mut delays = Vec::new();
    let mut pid = Pid(4);
    for _ in 0..9 {
        supervisor.on_death(pid, Exit::Code(1), now);
        let due = supervisor.deadline(now);
        delays.push((due - now) / 1_000_000);
        supervisor.on_time(due - 1);
        assert_eq!(supervisor.deadline(now), due);
        now = due;
        supervisor.on_time(now);
        pid = Pid(supervisor.system.started.len() as u32 + 1);
    }
    assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert!(names(&supervisor)[3..].iter().all(|&name| name == "httpd"));
    // One that ran well for a while starts at once, and quickly should it fail then.
    now += SETTLED_NS;
    supervisor.on_death(pid, Exit::Fault(6), now);
    assert_eq!(supervisor.deadline(now), now);
    supervisor.on_time(now);
    pid = Pid(supervisor.system.started.len() as u32 + 1);
    supervisor.on_death(pid, Exit::Fault(6), now);
    assert_eq!(supervisor.deadline(now) - now, RESTART_NS.0);
}

/// Lets the newest program end so as soon as it runs, `times` times; returns the time.
fn end_again(supervisor: &mut Supervisor<Fake>, times: usize, exit: Exit, mut now: u64) -> u64 {
    for _ in 0..times {
        let newest = Pid(supervisor.system.started.len() as u32 + 1);
        supervisor.on_death(newest, exit, now);
        now = supervisor.deadline(now);
        supervisor.on_time(now);
    }
    now
}

#[test]
fn a_program_that_ends_the_same_way_again_and_again_is_told_and_heard_a_few_times_only() {
    let mut supervisor = started("");
    let now = end_again(&mut supervisor, 20, Exit::Code(1), 0);
    assert_eq!(
        supervisor.system.said,
        [
            "httpd ended: exit code 1",
            "httpd ended: exit code 1",
            "httpd ended: exit code 1, again; it is started on and on, but not heard until it runs",
        ]
    );
    // It was started all the same, mute from the fourth time on.
    assert_eq!(names(&supervisor).len(), 3 + 20);
    assert_eq!(supervisor.system.mute, 20 - 2);
    assert_eq!(supervisor.system.heard, []);
    // When it has run for a while it is heard again, and tells of its next end.
    let due = supervisor.deadline(now);
    assert_eq!(due - now, RESTART_NS.1);
    supervisor.on_time(due);
    assert_eq!(supervisor.system.heard, [Pid(24)]);
    assert_eq!(supervisor.system.said[3], "httpd runs, and is heard again");
    assert_eq!(supervisor.deadline(due), FOREVER);
    end_again(&mut supervisor, 1, Exit::Code(1), due);
    assert_eq!(supervisor.system.said[4], "httpd ended: exit code 1");
}

#[test]
fn another_end_is_news() {
    let mut supervisor = started("");
    let mut now = end_again(&mut supervisor, 9, Exit::Code(1), 0);
    for exit in [
        Exit::Fault(14),
        Exit::Code(1),
        Exit::Fault(14),
        Exit::Killed,
    ] {
        now = end_again(&mut supervisor, 1, exit, now);
    }
    let said: Vec<&str> = supervisor.system.said[3..]
        .iter()
        .map(|line| line.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "httpd ended: page fault (exception 14)",
            "httpd ended: exit code 1",
            "httpd ended: page fault (exception 14)",
            "httpd ended: killed",
        ]
    );
}

#[test]
fn a_program_that_runs_in_vain_is_not_started_again_and_neither_is_what_needs_it() {
    let mut supervisor = started("");
    supervisor.on_request(1, &ASK, 0);
    supervisor.on_death(Pid(2), Exit::Code(exit::IN_VAIN), 5);
    assert_eq!(supervisor.system.replies, [(1, Err(Error::NotFound))]);
    supervisor.on_request(2, &ASK, 6);
    assert_eq!(supervisor.system.replies[1], (2, Err(Error::NotFound)));
    supervisor.on_death(Pid(3), Exit::Code(1), 7);
    supervisor.on_death(Pid(4), Exit::Code(1), 8);
    assert_eq!(
        supervisor.system.said,
        [
            "netd ended: exit code 3; it is not started again",
            "echosrv ended: exit code 1; it is not started again",
            "httpd ended: exit code 1; it is not started again",
        ]
    );
    assert_eq!(supervisor.deadline(8), FOREVER);
    supervisor.on_time(600 * SECOND);
    assert_eq!(names(&supervisor).len(), 3);
}

#[test]
fn a_run_in_vain_is_over() {
    let mut supervisor = started("run=netd run=hello,-x");
    supervisor.on_death(Pid(2), Exit::Code(exit::IN_VAIN), 5);
    supervisor.on_request(1, &ASK, 6);
    assert_eq!(supervisor.system.replies, [(1, Err(Error::NotFound))]);
    supervisor.on_death(Pid(3), Exit::Code(exit::BAD_USAGE), 7);
    assert_eq!(
        supervisor.system.said,
        [
            "netd ended: exit code 3; it is not started again",
            "hello ended: exit code 2",
            "nothing left to run"
        ]
    );
    assert_eq!(names(&supervisor), ["netd", "hello"]);
}

#[test]
fn what_cannot_be_started_is_told_once() {
    let mut supervisor = started("");
    supervisor.system.refuse = Some(Error::NoMemory);
    supervisor.on_death(Pid(4), Exit::Killed, 0);
    let mut now = 0;
    for _ in 0..10 {
        now = supervisor.deadline(now);
        supervisor.on_time(now);
    }
    let said = &supervisor.system.said;
    assert_eq!(
        said,
        &["httpd ended: killed", "cannot start httpd: out of memory"]
    );
    supervisor.system.refuse = None;
    now = supervisor.deadline(now);
    supervisor.on_time(now);
    assert_eq!(names(&supervisor).len(), 4);
}

#[test]
fn a_server_that_waits_for_its_restart_is_not_started_twice() {
    let mut supervisor = started("");
    supervisor.on_death(Pid(2), Exit::Fault(14), 0);
    supervisor.on_request(5, &ASK, 0);
    assert_eq!(names(&supervisor), ["netd", "echosrv", "httpd"]);
    supervisor.on_time(100_000_000);
    assert_eq!(names(&supervisor), ["netd", "echosrv", "httpd", "netd"]);
    supervisor.system.registered = Some(Pid(5));
    supervisor.on_time(100_000_001);
    assert_eq!(supervisor.system.replies, [(5, Ok(Pid(5)))]);
}

#[test]
fn who_asks_before_init_has_heard_of_the_death_gets_the_next_server() {
    let mut supervisor = started("");
    supervisor.on_request(5, &ASK, 2 * SECOND);
    supervisor.on_death(Pid(2), Exit::Fault(14), 2 * SECOND);
    assert_eq!(supervisor.system.replies, []);
    supervisor.on_time(2 * SECOND);
    assert_eq!(names(&supervisor), ["netd", "echosrv", "httpd", "netd"]);
    supervisor.system.registered = Some(Pid(5));
    supervisor.on_time(2 * SECOND + LOOK_NS);
    assert_eq!(supervisor.system.replies, [(5, Ok(Pid(5)))]);
}

#[test]
fn a_run_that_is_a_network_server_is_waited_for_instead_of_another() {
    let mut supervisor = started("run=netd,0,with=echosrv,gw=10.0.2.7 run=httpd gw=10.0.2.3");
    let args = &supervisor.system.started[0].1;
    assert_eq!(args, "0,gw=10.0.2.3,with=echosrv,gw=10.0.2.7");
    supervisor.on_request(1, &ASK, 0);
    assert_eq!(names(&supervisor), ["netd", "httpd"]);
    supervisor.system.registered = Some(Pid(2));
    supervisor.on_time(LOOK_NS);
    assert_eq!(supervisor.system.replies, [(1, Ok(Pid(2)))]);
    // When it has ended, the next is an ordinary one.
    supervisor.system.registered = None;
    supervisor.on_death(Pid(2), Exit::Killed, 5);
    supervisor.on_request(2, &ASK, 6);
    assert_eq!(supervisor.system.started[2].1, "0,gw=10.0.2.3");
    // One of another card does not count.
    let mut supervisor = started("run=netd,1 run=httpd");
    supervisor.on_request(1, &ASK, 0);
    assert_eq!(names(&supervisor), ["netd", "httpd", "netd"]);
}

const STACKS: &str = "stack=web,card=0,ip=10.0.2.16/24,run=httpd gw=10.0.2.2 \
    stack=lab,ip=10.0.2.17/24,mac=02:00:00:00:00:07,inside=echosrv,run=hello";

#[test]
fn stacks_have_servers_and_programs_of_their_own_and_no_others_run() {
    let mut supervisor = started(STACKS);
    let expected = [
        ("netd", "0,gw=10.0.2.2,ip=10.0.2.16/24,stack=web"),
        ("httpd", "stack=web"),
        (
            "netd",
            "0,gw=10.0.2.2,ip=10.0.2.17/24,mac=02:00:00:00:00:07,with=echosrv,stack=lab",
        ),
        ("hello", "stack=lab"),
    ];
    let expected = expected.map(|(name, args)| (name.to_string(), args.to_string()));
    assert_eq!(supervisor.system.started, expected);
    let shares = &supervisor.system.shares;
    let names: Vec<&str> = shares.iter().map(|share| share.names.as_str()).collect();
    assert_eq!(names, ["netweb", "", "netlab", ""]);
    let parts = shares.iter().map(|share| {
        share.flags == abi::limits::spawn::SERVER | abi::limits::spawn::PARTS && share.cards == 1
    });
    assert!(parts.eq([true, false, true, false]));
    // Each has a half.
    let whole = Share::of("netd", "0", &Limits::of_machine(58 << 20)).limits;
    let half = shares[0].limits.get(Resource::Memory);
    assert_eq!(half, whole.get(Resource::Memory) / 2);
    assert!(supervisor.system.said.is_empty());
    assert_eq!(supervisor.deadline(0), FOREVER);
    // Whoever asks for one waits for that; one that nobody has named is not there.
    supervisor.on_request(1, &ask("lab"), 0);
    supervisor.on_request(2, &ask("other"), 0);
    assert_eq!(supervisor.system.replies, [(2, Err(Error::NotFound))]);
}

#[test]
fn a_stack_has_all_of_its_virtual_function() {
    let supervisor = started("stack=web,vf=1,run=httpd stack=no,vf=2 stack=no,vf=x");
    let (name, args) = &supervisor.system.started[0];
    assert_eq!(
        (name.as_str(), args.as_str()),
        ("netd", "3,whole,stack=web")
    );
    let share = &supervisor.system.shares[0];
    assert_eq!(share.flags, abi::limits::spawn::SERVER);
    assert_eq!((share.cards, share.names.as_str()), (0b1000, "netweb"));
    let [wrong, missing] = &supervisor.system.said[..] else {
        panic!("{:?}", supervisor.system.said);
    };
    assert!(wrong.contains("`vf=x` makes no sense"), "{wrong}");
    assert!(missing.contains("no virtual function 2"), "{missing}");
    assert_eq!(names(&supervisor), ["netd", "httpd"]);
}

#[test]
fn the_end_of_one_stacks_server_concerns_no_other() {
    let mut supervisor = started(STACKS);
    let (web, httpd, lab) = (Pid(2), Pid(3), Pid(4));
    supervisor.on_request(1, &ask("lab"), 0);
    supervisor.on_death(web, Exit::Fault(14), 2 * SECOND);
    supervisor.on_time(2 * SECOND);
    assert_eq!(supervisor.system.started.len(), 5);
    assert_eq!(
        supervisor.system.started[4].1,
        supervisor.system.started[0].1
    );
    assert!(supervisor.system.replies.is_empty());
    // One that can never run takes its own programs with it.
    supervisor.on_death(lab, Exit::Code(exit::IN_VAIN), 3 * SECOND);
    supervisor.on_death(Pid(5), Exit::Code(1), 3 * SECOND);
    assert_eq!(supervisor.system.replies, [(1, Err(Error::NotFound))]);
    supervisor.on_death(httpd, Exit::Code(1), 4 * SECOND);
    supervisor.on_time(10 * SECOND);
    let again: Vec<&str> = names(&supervisor)[5..].to_vec();
    assert_eq!(again, ["httpd"]);
}

#[test]
fn a_stack_that_makes_no_sense_is_named_and_the_others_run() {
    let supervisor =
        started("stack=A stack=web,speed=9 stack=3 stack=lab,card=x stack=ok,run=hello");
    assert_eq!(names(&supervisor), ["netd", "hello"]);
    let wrong = ["A", "speed=9", "3", "card=x"];
    for (said, part) in supervisor.system.said.iter().zip(wrong) {
        assert!(said.contains(&format!("`{part}` makes no sense")), "{said}");
    }
    assert_eq!(supervisor.system.said.len(), wrong.len());
}
