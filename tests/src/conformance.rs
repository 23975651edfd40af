//! `docs/conformance.md` names the test of each rule: whether there are such tests.

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

#[test]
fn each_test_that_is_named_exists() {
    let mut text = String::new();
    for package in ["net/src", "user/src", "tests/src", "kernel/nic/src"] {
        sources(&repository().join(package), &mut text);
    }
    let document = fs::read_to_string(repository().join("docs/conformance.md")).unwrap();
    let names = named(&document);
    assert!(names.len() > 100, "only {} tests are named", names.len());
    for name in names {
        let function = format!("fn {name}(");
        assert!(text.contains(&function), "there is no {name}");
    }
}

#[test]
fn names_are_found_among_other_words() {
    let document = "| `SYN` | `arp::a_b`, `x::y::c_d`, `e_f` and `net/src::g.rs` | `drop_x` |";
    assert_eq!(named(document), ["a_b", "c_d"]);
}
