//! `docs/conformance.md` names the test of each rule, and `docs/security.md` that of each thing that
//! an attacker can or cannot do: whether there are such tests.

use crate::suite::repository;
use std::fs;
use std::path::Path;

/// All Rust sources below a directory, one behind the other.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            Some(kind) if kind == "rs" => *text += &fs::read_to_string(&path).unwrap(),
            None if path.is_dir() => sources(&path, text),
            _ => {}
        }
    }
}

/// The names in backticks that are paths to functions, without what comes before them.
fn named(document: &str) -> Vec<&str> {
    let quoted = document.split('`').skip(1).step_by(2);
    let names = quoted.filter_map(|name| Some(name.rsplit_once("::")?.1));
    let is_function = |name: &&str| name.contains('_') && !name.contains([' ', '.', '(']);
    names.filter(is_function).collect()
}

/// All sources that have tests.
fn tests() -> String {
    let mut text = String::new();
    for package in [
        "net/src",
        "user",
        "tests/src",
        "kernel/nic/src",
        "kernel/src",
    ] {
        sources(&repository().join(package), &mut text);
    }
    text
}

fn document(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// Fails for a function that is named and is not there.
fn functions_exist(names: &[&str], text: &str) {
    for name in names {
        let function = format!("fn {name}(");
        assert!(text.contains(&function), "there is no {name}");
    }
}

#[test]
fn each_test_that_is_named_exists() {
    let document = document("conformance.md");
    let names = named(&document);
    assert!(names.len() > 100, "only {} tests are named", names.len());
    functions_exist(&names, &tests());
}

/// What the last column of the tables names: cases in quotation marks, and attacks of `make soak`.
fn shown_by(document: &str) -> (Vec<&str>, Vec<&str>) {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | "));
    let cells: Vec<&str> = cells.map(|(_, cell)| cell).collect();
    let inside = |quote| {
        let parts = cells
            .iter()
            .flat_map(move |cell| cell.split(quote).skip(1).step_by(2));
        parts.collect::<Vec<&str>>()
    };
    let attacks = inside('`')
        .into_iter()
        .filter(|name| name.ends_with(':') && !name.contains("::"));
    (inside('"'), attacks.collect())
}

#[test]
fn what_shows_what_an_attacker_can_do_exists() {
    let document = document("security.md");
    functions_exist(&named(&document), &tests());
    let grade = [crate::grade::PART_A, crate::grade::PART_B];
    let beyond = crate::beyond::GROUPS.iter().map(|(_, cases)| *cases);
    let there: Vec<&str> = grade
        .into_iter()
        .chain(beyond)
        .flatten()
        .map(|case| case.name)
        .collect();
    let (cases, attacks) = shown_by(&document);
    assert!(
        cases.len() > 10 && attacks.len() > 10,
        "{cases:?} {attacks:?}"
    );
    for case in cases {
        assert!(there.contains(&case), "there is no case {case:?}");
    }
    for attack in &attacks {
        let mut named = crate::soak::ATTACKS.iter().map(|attack| attack.name);
        let word = format!("{attack} ");
        assert!(
            named.any(|name| name.starts_with(&word)),
            "there is no attack {attack}"
        );
    }
    // And no attack shows nothing.
    for attack in crate::soak::ATTACKS {
        let word = attack.name.split(' ').next().unwrap_or_default();
        let is_told = attacks.contains(&word) || word == "sizes:";
        assert!(is_told, "{word} shows nothing on the page");
    }
}

#[test]
fn cases_and_attacks_are_found_in_the_last_column() {
    let page = "| a | \"no case\" `no:` | `x::y_z`, `word:`, \"a case\" |\n\"not here\" `nor:`\n";
    assert_eq!(shown_by(page), (vec!["a case"], vec!["word:"]));
}

#[test]
fn names_are_found_among_other_words() {
    let document = "| `SYN` | `arp::a_b`, `x::y::c_d`, `e_f` and `net/src::g.rs` | `drop_x` |";
    assert_eq!(named(document), ["a_b", "c_d"]);
}
