//! The Makefile's verbs as a person types them: ports that are forwarded, and gdb.

use crate::console::Console;
use crate::http;
use crate::machine::{LONG, PATIENCE};
use crate::suite::{Bench, Case, repository};
use crate::{During, Failure, Outcome, ensure, read_all, same_bytes};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::absolute;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("make qemu FORWARD= leads to more ports", forward).once(),
    Case::new("make qemu STACKS=2 leads to two stacks", stacks).once(),
    Case::new("make qemu VFS=2 leads to three functions", functions).only("igb"),
    Case::new("gdb shows variables and callers, DEBUG=1", debugger).once(),
];

/// A verb that runs, with whatever it has started.
struct Make {
    child: Child,
    input: Option<ChildStdin>,
    output: Console,
}

impl Make {
    /// Runs `make verb` for the card and the image of the bench, with more variables.
    fn start(bench: &Bench, verb: &str, variables: &[String]) -> Outcome<Make> {
        let log = |name: &str| File::create(bench.dir.join(format!("{verb}-{name}.log")));
        let path = |path| Ok::<_, Failure>(absolute(path)?.display().to_string());
        let mut build = bench.options.build.clone();
        if variables.iter().any(|variable| variable == "DEBUG=1") {
            build.push("debugging");
        }
        let mut child = Command::new("make")
            .args(["--no-print-directory", verb])
            .arg(format!("NIC={}", bench.nic.name))
            .arg(format!("QEMU={}", bench.options.qemu))
            .arg(format!("BUILD={}", path(&build)?))
            .arg(format!("WWW={}", path(&bench.options.www)?))
            .args(variables)
            // This harness may have been started by make, for other things.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .current_dir(repository())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log("errors")?)
            .spawn()
            .during("make")?;
        let output = child.stdout.take().ok_or("make has no output")?;
        Ok(Make {
            input: child.stdin.take(),
            output: Console::follow(output, log("output")?),
            child,
        })
    }

    /// Types something; nothing more can be typed after it.
    fn type_last(&mut self, text: &str) -> Outcome {
        let mut input = self.input.take().ok_or("the input is closed")?;
        input.write_all(text.as_bytes()).during("typing")
    }

    /// Waits until it has ended by itself, so that all it printed is there.
    fn wait(&mut self, within: Duration) -> Outcome {
        let end = Instant::now() + within;
        while self.child.try_wait()?.is_none() {
            ensure(Instant::now() < end, || {
                format!("it did not end within {} s", within.as_secs())
            })?;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.output.finish();
        Ok(())
    }
}

impl Drop for Make {
    fn drop(&mut self) {
        // What make has started is of its group. It is gone unless something failed.
        let group = format!("-{}", self.child.id());
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        }
        let _ = self.child.wait();
        self.output.finish();
    }
}

/// Ports of this machine that nobody has, as variables of make.
fn ports(names: &[&str]) -> Outcome<Vec<(u16, String)>> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = names.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
    let named = held.iter().zip(names).map(|(listener, name)| {
        let port = listener.local_addr()?.port();
        Ok((port, format!("{name}={port}")))
    });
    named.collect()
}

fn forward(bench: &Bench) -> Outcome {
    let ports = ports(&["ECHO_PORT", "HTTP_PORT", "", ""])?;
    let [(_, echo), (_, http), (tcp, _), (udp, _)] = &ports[..] else {
        return Err("four ports".into());
    };
    let mut qemu = Make::start(
        bench,
        "qemu",
        &[
            echo.clone(),
            http.clone(),
            format!("FORWARD={tcp}:7,udp:{udp}:7"),
            "CMDLINE=run=echosrv".to_owned(),
        ],
    )?;
    let output = &qemu.output;
    output.wait_prefix("Wharf starts in QEMU", LONG)?;
    output.wait_line("bound", PATIENCE)?;
    let lines = output.lines();
    for wanted in [
        format!("nc localhost {tcp}"),
        format!("nc -u localhost {udp}"),
    ] {
        ensure(lines.iter().any(|line| line.ends_with(&wanted)), || {
            format!("{wanted:?} was not announced")
        })?;
    }
    ensure(
        !lines.iter().any(|line| line.contains("web server")),
        || "a web server was announced that does not run".to_owned(),
    )?;

    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *tcp)).during("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"by TCP")?;
    let mut back = [0; 6];
    read_all(&mut stream, &mut back).during("the TCP port")?;
    same_bytes(&back, b"by TCP")?;

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"by UDP", (Ipv4Addr::LOCALHOST, *udp))?;
    // QEMU's user network answers from the first of its ports that lead to the guest's.
    let (len, _) = socket.recv_from(&mut back).during("the UDP port")?;
    same_bytes(&back[..len], b"by UDP")?;

    qemu.type_last("\x01x").during("Ctrl-a x")?;
    qemu.wait(PATIENCE).during("QEMU")
}

fn stacks(bench: &Bench) -> Outcome {
    led_to(
        bench,
        "STACKS=2",
        &["nets0", "nets1"],
        &["\"pci\":", "\"pci\":"],
    )
}

/// Each page says which function of the card answered.
fn functions(bench: &Bench) -> Outcome {
    let functions = ["01:00.0", "01:10.0", "01:10.2"].map(|pci| format!("\"pci\":\"{pci}\""));
    let functions = functions.each_ref().map(String::as_str);
    led_to(bench, "VFS=2", &["nets0", "netvf0", "netvf1"], &functions)
}

/// `make qemu` with this variable starts these servers, and says where their pages are, whose status has
/// these words.
fn led_to(bench: &Bench, variable: &str, servers: &[&str], words: &[&str]) -> Outcome {
    let ports = ports(&["ECHO_PORT", "HTTP_PORT", "STACK_PORT"])?;
    let mut variables: Vec<String> = ports.iter().map(|(_, variable)| variable.clone()).collect();
    variables.push(variable.to_owned());
    let mut qemu = Make::start(bench, "qemu", &variables)?;
    let output = &qemu.output;
    output.wait_prefix("Wharf starts in QEMU", LONG)?;
    for server in servers {
        output.wait_prefix(&format!("netd: {server} is "), PATIENCE)?;
    }
    output.wait_times("Waiting for http connections...", servers.len(), PATIENCE)?;
    let (first, others) = (ports[1].0, ports[2].0..);
    for (port, words) in [first].into_iter().chain(others).zip(words) {
        let address = format!("http://localhost:{port}/");
        let lines = output.lines();
        ensure(lines.iter().any(|line| line.ends_with(&address)), || {
            format!("{address} was not announced")
        })?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).during("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = http::Connection::new(stream);
        client.get("/", "")?.expect(200).during(&address)?;
        let status = client.get("/status.json", "")?.expect(200)?.body;
        let status = String::from_utf8_lossy(&status);
        ensure(status.contains(words), || {
            format!("{address}: no {words} in {status}")
        })?;
    }
    qemu.type_last("\x01x").during("Ctrl-a x")?;
    qemu.wait(PATIENCE).during("QEMU")
}

fn debugger(bench: &Bench) -> Outcome {
    if Command::new("gdb").arg("--version").output().is_err() {
        bench.note("skipped: there is no gdb; scripts/setup --gdb installs it".to_owned());
        return Ok(());
    }
    let ports = ports(&["ECHO_PORT", "HTTP_PORT", "GDB_PORT"])?;
    let mut variables: Vec<String> = ports.into_iter().map(|(_, variable)| variable).collect();
    variables.push("DEBUG=1".to_owned());
    let mut with_program = variables.clone();
    with_program.push("CMDLINE=run=testtime,1000".to_owned());
    let qemu = Make::start(bench, "qemu-gdb", &with_program)?;
    // It is built first.
    qemu.output
        .wait_prefix("It waits for the debugger", 5 * LONG)?;

    let program = bench
        .options
        .bin
        .with_file_name("debugging")
        .join("testtime");
    let program = absolute(program)?.display().to_string();
    let mut gdb = Make::start(bench, "gdb", &variables)?;
    gdb.type_last(&SCRIPT.replace("PROGRAM", &program))?;
    gdb.wait(LONG).during("gdb")?;
    shown(&gdb.output.lines())
}

/// What is typed at gdb: in the kernel when it starts `init`, and then on `init`'s call; and
/// in a program.
const SCRIPT: &str = "\
set pagination off
set width 0
break kernel::kernel::Kernel::spawn
continue
print path
backtrace
echo \\n=== a system call\\n
continue
print path
backtrace
delete
add-symbol-file PROGRAM
break testtime::nap
echo \\n=== a program\\n
continue
print us
backtrace
kill
quit
";

/// Fails unless gdb has shown all that it was asked for.
fn shown(lines: &[String]) -> Outcome {
    let mut parts = lines
        .split(|line| line.contains("=== "))
        .map(<[String]>::to_vec);
    for (what, value, stop, callers) in [
        (
            "the start of init",
            "\"bin/init\"",
            "kernel::kernel::Kernel::spawn (",
            &["kernel::main (", "kernel::_::__impl_start ("][..],
        ),
        (
            "a system call",
            "\"bin/testtime\"",
            "kernel::kernel::Kernel::spawn (",
            // The caller's argument is where it can only be if the stack was unwound.
            &["other_syscall (", "TRAP_STACK", " syscall_entry ()"],
        ),
        (
            "a program",
            "= 1000",
            "testtime::nap (us=1000)",
            &["testtime::main (", " _start ()"],
        ),
    ] {
        let part = parts.next().unwrap_or_default();
        one_stop(&part, value, stop, callers).during(what)?;
    }
    Ok(())
}

/// Fails unless gdb stopped at the begin of a line of code in the function `stop`, printed
/// `value`, and showed these callers, in this order, up to the first of all.
fn one_stop(part: &[String], value: &str, stop: &str, callers: &[&str]) -> Outcome {
    let printed = || format!("gdb printed:\n{}", part.join("\n"));
    let missing = |what: &str| Failure(format!("no {what:?}; {}", printed()));
    let at = part
        .iter()
        .position(|line| line.contains("Breakpoint ") && line.contains(stop));
    let at = at.ok_or_else(|| missing(stop))?;
    // Below it, its number and the line as it is in the file.
    let source = part.get(at + 1).and_then(|line| line.split_once('\t'));
    let (_, source) = source.ok_or_else(|| missing("line of the source"))?;
    ensure(!["", "}"].contains(&source.trim()), || {
        format!("it stops at {source:?}; {}", printed())
    })?;
    let mut rest = part[at + 1..].iter();
    for wanted in [value].iter().chain(callers) {
        rest.find(|line| line.contains(wanted))
            .ok_or_else(|| missing(wanted))?;
    }
    let lost = part[at..]
        .iter()
        .find(|line| line.contains("?? ()") || line.contains("corrupt"));
    ensure(lost.is_none(), || {
        format!("the callers end in {lost:?}; {}", printed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(repository().join("scripts").join(name))
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap(), text)
    }

    #[test]
    fn a_list_of_ports_is_read_and_nonsense_is_named() {
        assert_eq!(script("forward", &[""]), (0, String::new()));
        let list = "26013:13, udp:26014:14 tcp:1:65535,udp:1:2 80:10.0.2.16:80";
        let read = "tcp 26013 13\nudp 26014 14\ntcp 1 65535\nudp 1 2\ntcp 80 80 10.0.2.16\n";
        assert_eq!(script("forward", &[list]), (0, read.to_owned()));
        let flags = ",hostfwd=tcp:127.0.0.1:5-:6,hostfwd=udp:127.0.0.1:7-10.0.2.16:8";
        assert_eq!(
            script("forward", &["--qemu", "5:6 udp:7:10.0.2.16:8"]),
            (0, flags.to_owned())
        );
        for (list, words) in [
            ("x", "`x` is not HOST:GUEST"),
            ("80", "`80` is not HOST:GUEST"),
            ("1:2:3", "`1:2:3` is not"),
            ("sctp:1:2", "`sctp:1:2` is not"),
            ("1:2 -3:4", "`-3:4` is not"),
            ("*", "`*` is not"),
            ("0:13", "`0:13`: a port is a number from 1 to 65535"),
            ("13:65536", "`13:65536`: a port is"),
            ("99999999999999999999:1", "a port is"),
            (
                "5:6,5:7",
                "port 5 of this machine (tcp) leads to two places",
            ),
        ] {
            let (code, text) = script("forward", &[list]);
            assert!(code == 2 && text.contains(words), "{list}: {code}, {text}");
        }
    }

    #[test]
    fn stacks_are_words_for_the_kernel_and_ports_of_this_machine() {
        let words = "stack=s0,ip=10.0.2.15/24,run=httpd,run=echosrv \
                     stack=s1,ip=10.0.2.16/24,run=httpd,run=echosrv ";
        assert_eq!(
            script("stacks", &["words", "2", "0", "9"]),
            (0, words.to_owned())
        );
        let ports = "9:10.0.2.16:80 10:10.0.2.17:80 ";
        assert_eq!(
            script("stacks", &["forward", "3", "0", "9"]),
            (0, ports.to_owned())
        );
        let words = "nic.vfs=2 stack=s0,ip=10.0.2.15/24,run=httpd,run=echosrv \
                     stack=vf0,vf=0,ip=10.0.2.16/24,inside=httpd \
                     stack=vf1,vf=1,ip=10.0.2.17/24,inside=httpd ";
        for (what, expected) in [("words", words), ("forward", ports)] {
            let all = script("stacks", &[what, "1", "2", "9"]);
            assert_eq!(all, (0, expected.to_owned()));
        }
        for (stacks, functions, can_be) in [
            ("0", "0", "1 to 16"),
            ("17", "0", "1 to 16"),
            ("x", "0", "1 to 16"),
            ("", "0", "1 to 16"),
            ("1 ", "0", "1 to 16"),
            ("1", "8", "0 to 7"),
            ("1", "", "0 to 7"),
        ] {
            let (code, text) = script("stacks", &["words", stacks, functions, "9"]);
            assert!(
                code == 2 && text.contains(&format!("it can be {can_be}")),
                "{stacks}, {functions}: {text}"
            );
        }
    }

    #[test]
    fn what_runs_is_announced_and_taken_ports_are_refused() {
        let announce = |gdb: &str, forward: &str, cmdline: &str| {
            let ports = ports(&["", ""]).unwrap();
            let [echo, http] = [0, 1].map(|at: usize| ports[at].0.to_string());
            script("announce", &["igb", &echo, &http, cmdline, gdb, forward])
        };
        for (cmdline, servers) in [
            ("", [true, true]),
            ("ip=10.0.0.1", [true, true]),
            ("run=hello", [false, false]),
            ("run=echosrv", [true, false]),
            ("run=hello run=httpd", [false, true]),
            ("run=netd,0,with=httpd", [false, true]),
            (
                "stack=a,ip=10.0.2.15/24,run=echosrv stack=b,run=httpd",
                [true, false],
            ),
            (
                "stack=a,ip=10.0.2.15/24,inside=httpd run=hello",
                [false, true],
            ),
        ] {
            let (code, text) = announce("", "", cmdline);
            let told = ["echo server", "web server"].map(|server| text.contains(server));
            assert_eq!((code, told), (0, servers), "{cmdline}: {text}");
        }
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = held.local_addr().unwrap().port();
        let (code, text) = announce("", &format!("{taken}:13"), "");
        assert!(
            code == 1 && text.contains("in use") && text.contains("FORWARD="),
            "{text}"
        );
        let (code, text) = announce(&taken.to_string(), "", "");
        assert!(code == 1 && text.contains("GDB_PORT="), "{text}");
        let (code, text) = announce("7x", "", "");
        assert!(
            code == 2 && text.contains("GDB_PORT=7x is no port"),
            "{text}"
        );
        let (code, text) = announce("", "nonsense", "");
        assert!(code == 2 && text.contains("`nonsense` is not"), "{text}");
        let two = ports(&["", ""]).unwrap();
        let (one, other) = (two[0].0.to_string(), two[1].0.to_string());
        let list = format!("{one}:13");
        let (code, text) = script("announce", &["igb", &one, &other, "", "", &list]);
        assert!(code == 2 && text.contains("asked for twice"), "{text}");
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn gdbs_words_are_judged() {
        const GOOD: &str = "Breakpoint 1, a::f (x=1) at a.rs:7\n7\t    let y = x;\n$1 = 1\n\
                            #0  a::f (x=1) at a.rs:7\n#1  0x12 in a::main () at a.rs:3\n#2  _start ()";
        let judge = |text: &str| one_stop(&lines(text), "= 1", "a::f (", &["a::main (", "_start"]);
        assert_eq!(judge(GOOD), Ok(()));
        for (from, to, words) in [
            ("7\t    let y = x;", "7\t}", "it stops at \"}\""),
            ("$1 = 1", "$1 = <optimized out>", "no \"= 1\""),
            ("a::main", "??", "no \"a::main (\""),
            (
                "#2  _start ()",
                "#2  _start ()\n#3  0x37f in ?? ()",
                "the callers end in",
            ),
            ("Breakpoint 1", "Watchpoint 1", "no \"a::f (\""),
        ] {
            let text = judge(&GOOD.replacen(from, to, 1)).unwrap_err().0;
            assert!(text.contains(words), "{text}");
        }
    }
}
