//! The table of processes for people: what each does, has, and may have.

use abi::limits::{ProcessInfo, Resource};
use alloc::string::String;
use core::fmt::{self, Write};

/// The program's usage text.
pub const USAGE: &str = "\
usage: ps
  prints the processes: number, parent, name, what it does (a + behind it: a
  server), seconds of processor time; and what it has of what it may have:
  KiB of memory, processes with its descendants, handles, sockets, and
  processes that it has notified in vain";

/// Lays the processes out, as lines of at most 80 columns.
pub fn table(processes: &[ProcessInfo]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_table(&mut text, processes);
    text
}

fn write_table(text: &mut String, processes: &[ProcessInfo]) -> fmt::Result {
    writeln!(
        text,
        "{:>6} {:>5} {:<9} {:<8} {:>8} {:>13} {:>6} {:>7} {:>9}",
        "PID", "PPID", "NAME", "STATE", "CPU", "MEMORY", "PROCS", "HANDLES", "SOCKETS"
    )?;
    for process in processes {
        let (name, state) = (process.name.as_str(), process.activity.name());
        let mark = if process.is_server { '+' } else { ' ' };
        let cpu = process.cpu_ns / 1_000_000;
        write!(
            text,
            "{:>6} {:>5} {name:<9} {state}{mark:<width$}{:>5}.{:03}",
            process.pid.0,
            process.parent.0,
            cpu / 1000,
            cpu % 1000,
            width = 9usize.saturating_sub(state.len()),
        )?;
        let own = process.own_limits();
        let memory = Resource::Memory;
        let of = |used: u64, limit: u64| alloc::format!("{used}/{limit}");
        let kib = of(process.used.get(memory) >> 10, own.get(memory) >> 10);
        let resource = Resource::Processes;
        let family = process.used.get(resource) + process.given.get(resource);
        let family = of(family, process.limits.get(resource));
        let [handles, sockets] = [Resource::Handles, Resource::Sockets]
            .map(|resource| of(process.used.get(resource), own.get(resource)));
        writeln!(text, " {kib:>13} {family:>6} {handles:>7} {sockets:>9}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Pid;
    use abi::limits::{Activity, Limits};
    use abi::wire::Name;

    #[test]
    fn a_line_tells_what_a_process_has_of_what_it_may_have() {
        let all = Limits::of_machine(58 << 20);
        let given = Limits::NONE
            .with(Resource::Memory, 50 << 20)
            .with(Resource::Processes, 3)
            .with(Resource::Handles, 24)
            .with(Resource::Sockets, 3072);
        let used = Limits::NONE
            .with(Resource::Memory, 600 << 10)
            .with(Resource::Processes, 1)
            .with(Resource::Handles, 1);
        let init = ProcessInfo {
            pid: Pid(0),
            parent: Pid(0),
            activity: Activity::Waiting,
            is_server: true,
            name: Name::new("init"),
            limits: all,
            given,
            used,
            cpu_ns: 12_345_678_901,
        };
        let spinner = ProcessInfo {
            pid: Pid(0x0fff_ff04),
            activity: Activity::Running,
            is_server: false,
            limits: Limits::PROGRAM,
            given: Limits::NONE,
            used: Limits::NONE.with(Resource::Processes, 1),
            cpu_ns: 1_000_000,
            ..init
        };
        let text = table(&[init, spinner]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            [
                "0", "0", "init", "waiting+", "12.345", "600/8192", "4/64", "1/1000", "0/11776"
            ]
        );
        assert_eq!(lines[2][3..6], ["running", "0.001", "0/768"]);
        assert_eq!(lines[0].len(), lines[1].len());
        assert!(text.lines().next().unwrap().len() <= 80);
        assert!(text.lines().nth(1).unwrap().len() <= 80, "{text}");
        assert!(USAGE.lines().all(|line| line.len() <= 80));
    }
}
