//! Whether every program of `src/bin` has its row in this package's `Cargo.toml`.
//!
//! Cargo would find the programs by itself, but would then also make a test harness of each,
//! which cannot be: a program has no standard library to link one with. There is no setting
//! for all of them at once, so each has a row that says so, and the build script stops with
//! the row to add when one has not.

/// The lines of a row that keep Cargo from making test harnesses.
const HARNESSES: [&str; 2] = ["test = false", "bench = false"];

/// What is wrong with the rows for these programs, and how to mend it; `None` if all is well.
pub fn wrong(manifest: &str, programs: &[String]) -> Option<String> {
    let rows: Vec<&str> = manifest.split("[[bin]]").skip(1).collect();
    let has_row = |program: &&String| {
        let name = format!("name = \"{program}\"");
        let is_its = |row: &&&str| row.lines().any(|line| line.trim() == name);
        rows.iter().find(is_its).is_some_and(|row| {
            HARNESSES
                .iter()
                .all(|no| row.lines().any(|line| line.trim() == *no))
        })
    };
    let program = programs.iter().find(|program| !has_row(program))?;
    Some(format!(
        "user/src/bin/{program}.rs is a program without a row; add to user/Cargo.toml:\n\n\
         [[bin]]\nname = \"{program}\"\n{}\n",
        HARNESSES.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_row_is_named_with_the_row_to_add() {
        let manifest =
            "[lib]\ntest = true\n\n[[bin]]\nname = \"hello\"\ntest = false\nbench = false\n";
        let program = |name: &str| vec![String::from("hello"), name.into()];
        assert_eq!(wrong(manifest, &program("hello")), None);
        let words = wrong(manifest, &program("scratch")).unwrap();
        let row = "[[bin]]\nname = \"scratch\"\ntest = false\nbench = false\n";
        assert!(words.ends_with(row), "{words}");
        assert_eq!(
            wrong(&format!("{manifest}\n{row}"), &program("scratch")),
            None
        );
        let harness = format!("{manifest}\n[[bin]]\nname = \"scratch\"\ntest = false\n");
        assert_eq!(wrong(&harness, &program("scratch")), Some(words));
    }

    #[test]
    fn this_packages_programs_have_their_rows() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin");
        let files = std::fs::read_dir(folder).unwrap();
        let programs: Vec<String> = files
            .map(|file| {
                file.unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .into()
            })
            .collect();
        assert!(programs.len() > 10);
        assert_eq!(wrong(include_str!("Cargo.toml"), &programs), None);
    }
}
