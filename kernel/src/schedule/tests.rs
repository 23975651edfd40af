//! Programs compute, sleep and talk in virtual time.

use super::*;

/// Counts of the clock: it counts microseconds.
const MS: u64 = 1000;
const QUANTUM: u64 = 10 * MS;

/// What a program of the simulation does over and over.
#[derive(Clone, Copy)]
struct Habit {
    /// It runs for so long,
    runs: u64,
    /// and sleeps for so long.
    sleeps: u64,
    is_server: bool,
}

struct Program {
    habit: Habit,
    pace: SleepCredit,
    /// How long it has to run until it sleeps.
    left: u64,
    /// When it wakes, if it sleeps.
    wakes: Option<u64>,
    ran: u64,
    /// When it woke, and how long it took it then until it slept again: the longest, and the
    /// sum and how often.
    woke: u64,
    worst: u64,
    took: (u64, u64),
}

const SPINS: Habit = Habit {
    runs: u64::MAX,
    sleeps: 0,
    is_server: false,
};

/// As the kernel does: a trap at each wake-up, and at the end of each slice if others wait.
fn simulate(habits: &[Habit], length: u64) -> Vec<Program> {
    let mut scheduler = Scheduler::new(MS);
    let mut now = 1_000_000;
    scheduler.set_now(now);
    let mut programs: Vec<Program> = habits
        .iter()
        .map(|&habit| Program {
            habit,
            pace: SleepCredit::new(habit.is_server),
            left: habit.runs,
            wakes: None,
            ran: 0,
            woke: now,
            worst: 0,
            took: (0, 0),
        })
        .collect();
    for (number, program) in programs.iter().enumerate() {
        scheduler.add(Pid(number as u32), &program.pace);
    }
    let end = now + length;
    let mut rotate = false;
    let mut slice_end = u64::MAX;
    while now < end {
        scheduler.set_now(now);
        for (number, program) in programs.iter_mut().enumerate() {
            if program.wakes.is_some_and(|at| at <= now) {
                program.wakes = None;
                program.woke = now;
                program.left = program.habit.runs;
                scheduler.wake(Pid(number as u32), &mut program.pace, true);
                rotate = true;
            }
        }
        if let Some(pid) = scheduler.current() {
            let program = &mut programs[pid.0 as usize];
            scheduler.stop(&mut program.pace, program.wakes.is_none());
        }
        let next = scheduler.choose(rotate);
        rotate = false;
        if scheduler.has_ready() {
            slice_end = slice_end.min(now + scheduler.slice_ms(QUANTUM / MS) * MS);
        }
        let wake = programs.iter().filter_map(|program| program.wakes).min();
        let mut until = wake.unwrap_or(u64::MAX).min(slice_end).min(end);
        if let Some(pid) = next {
            let program = &mut programs[pid.0 as usize];
            until = until.min(now.saturating_add(program.left));
            program.ran += until - now;
            program.left -= until - now;
            if program.left == 0 {
                program.wakes = Some(until + program.habit.sleeps);
                let took = until - program.woke;
                program.worst = program.worst.max(took);
                program.took = (program.took.0 + took, program.took.1 + 1);
            }
        }
        if until == slice_end {
            slice_end = u64::MAX;
            rotate = true;
        }
        now = until;
    }
    programs
}

/// A server that is asked for a page, over and over: it takes a millisecond.
const SERVES: Habit = Habit {
    runs: MS,
    sleeps: 2 * MS,
    is_server: true,
};

#[test]
fn a_server_is_served_at_once_whoever_computes() {
    let mut habits = vec![SERVES];
    habits.extend([SPINS; 20]);
    let programs = simulate(&habits, 2000 * MS);
    // A turn of those who wait may come between, once.
    assert!(
        programs[0].worst <= MS + TURN_MS * MS,
        "{}",
        programs[0].worst
    );
    let (took, times) = programs[0].took;
    assert!(took / times < MS * 11 / 10, "{took} in {times}");
    // What it leaves is theirs, and they share it.
    let ran: Vec<u64> = programs[1..].iter().map(|program| program.ran).collect();
    let (least, most) = (ran.iter().min().unwrap(), ran.iter().max().unwrap());
    assert!(ran.iter().sum::<u64>() > 1200 * MS);
    assert!(most - least <= 2 * QUANTUM, "{least} to {most}");
}

#[test]
fn who_only_seems_to_sleep_computes() {
    // Each sleeps for a microsecond after two of work, or never long enough.
    for sleeps in [0, 1] {
        let waits = Habit {
            runs: 2,
            sleeps,
            is_server: false,
        };
        let person = Habit {
            runs: MS / 2,
            sleeps: 20 * MS,
            is_server: false,
        };
        let mut habits = vec![SERVES, person];
        habits.extend([waits; 20]);
        let programs = simulate(&habits, 1000 * MS);
        assert!(programs[0].worst <= MS + TURN_MS * MS + 4);
        assert_eq!(programs[1].pace.level(), Level::Sleeper);
        // Its server's work, and a turn.
        assert!(programs[1].worst <= 4 * MS, "{}", programs[1].worst);
        for program in &programs[2..] {
            assert_eq!(program.pace.level(), Level::Computing, "{sleeps}");
        }
    }
}

#[test]
fn nobody_is_shut_out_for_ever() {
    // Servers that never sleep, programs that live on their credit, and one that computes.
    let server = Habit {
        is_server: true,
        ..SPINS
    };
    let lives = Habit {
        runs: MS,
        sleeps: MS,
        is_server: false,
    };
    let programs = simulate(&[server, server, lives, lives, SPINS], 2000 * MS);
    let spun = programs[4].ran;
    assert!((2000 / 30..2000 / 15).contains(&(spun / MS)), "{spun}");
    assert!(programs[2].ran + programs[3].ran >= 2000 / 30 * MS);
    assert!(programs[0].ran > 800 * MS && programs[1].ran > 800 * MS);
}

#[test]
fn starting_children_makes_no_credit() {
    let mut parent = SleepCredit::new(false);
    parent.credit = 10 * MS;
    parent.is_sleeper = true;
    let mut all = vec![parent];
    for _ in 0..1000 {
        let mut youngest = all.pop().unwrap();
        let child = youngest.halve(false);
        all.extend([youngest, child]);
    }
    assert!(all.iter().map(|pace| pace.credit).sum::<u64>() <= 10 * MS);
    let mut youngest = *all.last().unwrap();
    assert_eq!((youngest.level(), youngest.credit), (Level::Sleeper, 0));
    youngest.pay(1, 1);
    assert_eq!(youngest.level(), Level::Computing);
}

#[test]
fn who_is_interrupted_goes_on_and_who_was_woken_by_a_device_comes_first() {
    let mut scheduler = Scheduler::new(MS);
    let spins = SleepCredit::new(false);
    let [a, b, server, other] = [0, 1, 2, 3].map(Pid);
    let (mut woken, mut second) = (SleepCredit::new(true), SleepCredit::new(true));
    scheduler.add(a, &spins);
    scheduler.add(b, &spins);
    assert_eq!(scheduler.choose(false), Some(a));
    scheduler.wake(other, &mut second, false);
    scheduler.wake(server, &mut woken, true);
    assert_eq!(scheduler.choose(false), Some(server));
    scheduler.stop(&mut woken, false);
    assert_eq!(scheduler.choose(false), Some(other));
    scheduler.stop(&mut second, false);
    assert_eq!(scheduler.choose(false), Some(a));
    assert_eq!(scheduler.choose(true), Some(b));
    scheduler.remove(b);
    scheduler.remove(a);
    assert_eq!(scheduler.choose(true), None);
    assert!(!scheduler.has_ready());
}
