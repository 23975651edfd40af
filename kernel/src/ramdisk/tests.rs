//! Archives made here in the formats that `tar` makes, and the same ones damaged.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// A header of the `ustar` format.
fn header(prefix: &str, name: &str, kind: u8, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    sum(&mut block);
    block
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(crate) struct Archive(Vec<u8>);

impl Archive {
    pub(crate) fn new() -> Archive {
        Archive(Vec::new())
    }

    fn member(mut self, prefix: &str, name: &str, kind: u8, data: &[u8]) -> Archive {
        self.0.extend(header(prefix, name, kind, data.len()));
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Archive {
        self.member("", name, b'0', data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

#[test]
fn the_last_member_can_be_cut_off() {
    let archive = Archive::new()
        .file("cmdline", b"run=hello")
        .file("bin/kernel", &[1; 600])
        .file("boot/kernel", &[2; 5000])
        .end();
    let ramdisk = Ramdisk::new(&archive).unwrap();
    for path in ["bin/kernel", "kernel", "boot", "/boot/kernel"] {
        assert_eq!(ramdisk.start_of_last(path), None, "{path}");
    }
    let start = ramdisk.start_of_last("boot/kernel").unwrap();
    assert_eq!(start, 5 * BLOCK);
    let mut rest = archive[..start + TERMINATOR].to_vec();
    rest[start..].fill(0);
    let rest = Ramdisk::new(&rest).unwrap();
    let paths = rest.files().map(|file| file.path().collect());
    let paths: Vec<Vec<u8>> = paths.collect();
    assert_eq!(paths, [&b"cmdline"[..], b"bin/kernel"]);
    assert_eq!(rest.file("bin/kernel"), Some(&[1; 600][..]));
    assert_eq!(rest.start_of_last("boot/kernel"), None);
}

fn usual() -> Vec<u8> {
    Archive::new()
        .file(
            "cmdline",
            b" run=testoutput,100 ip=10.0.2.15/24 quiet run=httpd \n\0",
        )
        .member("", "bin/", b'5', b"")
        .file("bin/init", &[0x7f; 600])
        .file("bin/netd", &[0x11; 512])
        .member("", "bin/sh", b'2', b"") // a symbolic link
        .member("www/a/long/directory", "file.html", b'0', b"far")
        .file("./www/index.html", b"home")
        .file("www/empty", b"")
        .file("cmdline", b"run=evil")
        .end()
}

fn open(archive: &[u8]) -> Ramdisk<'_> {
    Ramdisk::new(archive).expect("a whole archive")
}

#[test]
fn files_are_found_by_path() {
    let archive = usual();
    let ramdisk = open(&archive);
    assert_eq!(ramdisk.file("bin/init"), Some(&[0x7f; 600][..]));
    assert_eq!(ramdisk.file("bin/netd"), Some(&[0x11; 512][..]));
    assert_eq!(ramdisk.file("/bin/netd"), Some(&[0x11; 512][..]));
    assert_eq!(ramdisk.file("www/index.html"), Some(&b"home"[..]));
    assert_eq!(ramdisk.file("www/empty"), Some(&b""[..]));
    let far = "www/a/long/directory/file.html";
    assert_eq!(ramdisk.file(far), Some(&b"far"[..]));
    for absent in [
        "",
        "/",
        "bin",
        "bin/",
        "bin/ini",
        "bin/initx",
        "bin//init",
        "bin/sh",
        "../bin/init",
        "www/a/long/directory",
        "file.html",
        "bin/init\0",
    ] {
        assert_eq!(ramdisk.file(absent), None, "{absent:?}");
    }
}

#[test]
fn all_files_are_listed_by_their_whole_paths() {
    let archive = usual();
    let files = open(&archive).files();
    let paths: Vec<String> = files.map(|file| path(&file)).collect();
    let expected = [
        "cmdline",
        "bin/init",
        "bin/netd",
        "www/a/long/directory/file.html",
        "www/index.html",
        "www/empty",
        "cmdline",
    ];
    assert_eq!(paths, expected);
    let file = open(&archive).find("/www/a/long/directory/file.html");
    assert_eq!(file.map(|file| file.file_name()), Some("file.html"));
}

fn path(file: &File) -> String {
    String::from_utf8(file.path().collect()).expect("names are UTF-8")
}

#[test]
fn the_first_command_line_counts() {
    let archive = usual();
    let ramdisk = open(&archive);
    assert_eq!(
        ramdisk.command_line(),
        "run=testoutput,100 ip=10.0.2.15/24 quiet run=httpd"
    );
}

#[test]
fn no_command_line_is_an_empty_one() {
    for archive in [
        Archive::new().file("bin/init", b"x").end(),
        Archive::new().file("cmdline", b"").end(),
        Archive::new().file("cmdline", b"run=\xff").end(),
        Archive::new().file("cmdline", b" \n").end(),
    ] {
        let ramdisk = open(&archive);
        assert_eq!(ramdisk.command_line(), "");
    }
}

#[test]
fn long_names_use_their_fields_to_the_last_byte() {
    let (prefix, name) = ("p".repeat(155), "n".repeat(100));
    let archive = Archive::new().member(&prefix, &name, b'0', b"long").end();
    let path = format!("{prefix}/{name}");
    assert_eq!(open(&archive).file(&path), Some(&b"long"[..]));
    assert_eq!(open(&archive).file(&path[..path.len() - 1]), None);
}

#[test]
fn names_that_are_not_utf_8_are_passed_over() {
    let mut archive = Archive::new().file("bad", b"1").file("good", b"2").end();
    archive[0] = 0xff;
    sum(&mut archive);
    let ramdisk = open(&archive);
    assert_eq!(ramdisk.file("good"), Some(&b"2"[..]));
    assert_eq!(ramdisk.files().count(), 1);
}

#[test]
fn what_tar_writes_can_be_read() {
    let directory = std::env::temp_dir().join(format!("ramdisk-{}", std::process::id()));
    let deep = directory.join("www").join("d".repeat(90));
    std::fs::create_dir_all(&deep).expect("directories");
    std::fs::write(deep.join("page.html"), "deep").expect("a file");
    std::fs::write(directory.join("cmdline"), "run=echosrv\n").expect("a file");
    for members in [&["cmdline", "www"][..], &["."]] {
        let output = std::process::Command::new("tar")
            .args(["--format=ustar", "-c", "-f", "-"])
            .args(members)
            .current_dir(&directory)
            .output()
            .expect("tar");
        assert!(output.status.success());
        let ramdisk = open(&output.stdout);
        assert_eq!(ramdisk.command_line(), "run=echosrv");
        let path = format!("/www/{}/page.html", "d".repeat(90));
        assert_eq!(ramdisk.file(&path), Some(&b"deep"[..]));
    }
    std::fs::remove_dir_all(&directory).expect("to clean up");
}

#[test]
fn damaged_archives_are_refused_with_a_reason() {
    use CorruptDataError::*;
    let whole = usual();
    let refused = |bytes: &[u8]| Ramdisk::new(bytes).map(|_| ()).expect_err("an error");
    assert_eq!(refused(b""), EmptyArchive);
    assert_eq!(refused(&[0; 100]), InvalidBlockSize);
    assert!(matches!(refused(&[0; 1024]), TooShort { .. }));
    assert_eq!(
        refused(&whole[..whole.len() - 2 * BLOCK]),
        MissingTerminator
    );
    let mut larger = header("", "large", b'0', 0o77777777777).to_vec();
    larger.resize(4 * BLOCK, 0);
    assert!(matches!(
        refused(&larger),
        PayloadExtendsBeyondArchive { .. }
    ));
    larger[124..136].fill(b'9');
    sum(&mut larger);
    assert!(matches!(refused(&larger), InvalidPayloadSize { .. }));
    for error in [refused(b""), refused(&larger), refused(&whole[..1536])] {
        assert!(!error.to_string().is_empty());
    }
}

/// Every look-up there is.
fn use_all(ramdisk: &Ramdisk) -> usize {
    ramdisk.file("bin/init");
    ramdisk.command_line();
    let files = ramdisk.files();
    files.map(|file| path(&file).len() + file.data.len()).sum()
}

#[test]
fn any_flipped_byte_is_refused_or_harmless() {
    let whole = usual();
    let (mut accepted, mut refused) = (0, 0);
    for at in 0..whole.len() {
        // As it is, and with the checksum of that block made right again, as an attacker
        // would; values that are special in some field.
        for (byte, mend) in [
            (0xff, false),
            (0, true),
            (b'9', true),
            (0x80, true),
            (b'7', true),
        ] {
            let mut archive = whole.clone();
            archive[at] = byte;
            if mend {
                let block = at / BLOCK * BLOCK;
                if archive[block + 257..].starts_with(b"ustar") {
                    sum(&mut archive[block..block + BLOCK]);
                }
            }
            match Ramdisk::new(&archive) {
                Ok(ramdisk) => {
                    use_all(&ramdisk);
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
}

#[test]
fn any_truncated_archive_is_refused_or_harmless() {
    let whole = usual();
    for length in 0..whole.len() {
        if let Ok(ramdisk) = Ramdisk::new(&whole[..length]) {
            use_all(&ramdisk);
        }
    }
}
