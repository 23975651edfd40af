//! Links the boot stage's binary by its own script and nothing else; the library is untouched.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/boot.ld");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={script}");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
        // Segments are copied, not mapped from the file: no page boundaries in there.
        "-Wl,-z,max-page-size=16",
        "-Wl,-z,norelro",
        "-Wl,--gc-sections",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
}
