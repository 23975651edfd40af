//! Links every program of a package as a freestanding ELF file.
//!
//! `x86_64-unknown-linux-gnu` is used for its prebuilt `core` and `alloc` only: no start
//! files, no C library, and an image for any place, as `program.ld` says.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = format!("{folder}/../program.ld");
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
    println!("cargo:rustc-link-arg-bins=-Wl,-L,{folder}/../..,-T,{script}");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed={folder}/../../placement/programs.ld");
}
