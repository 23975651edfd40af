//! Links every program of `src/bin` as a freestanding ELF file.
//!
//! `x86_64-unknown-linux-gnu` is used for its prebuilt `core` and `alloc` only: no start
//! files, no C library, and an image for any place, as `program.ld` says.

mod rows;

use std::path::Path;

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    if let Some(words) = rows::wrong(include_str!("Cargo.toml"), &programs(&folder)) {
        println!("cargo:rerun-if-changed=src/bin");
        eprintln!("{words}");
        std::process::exit(1);
    }
    let script = format!("{folder}/program.ld");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,-z,text",
        "-Wl,-z,pack-relative-relocs",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        // Segments are copied, not mapped from the file: no page boundaries in there.
        "-Wl,-z,max-page-size=16",
        "-Wl,-z,noexecstack",
        "-Wl,-z,norelro",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=rows.rs");
    println!("cargo:rerun-if-changed=src/bin");
    println!("cargo:rerun-if-changed=Cargo.toml");
}

/// The names of the files in `src/bin`, without `.rs`.
fn programs(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(Path::new(folder).join("src/bin")).expect("src/bin is there");
    let names = files.flatten().filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_suffix(".rs")?.to_owned())
    });
    names.collect()
}
