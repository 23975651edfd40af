use std::vec::Vec;

use tar_no_std::TarArchiveRef;

use super::model::{Chance, tar};
use crate::archive::{CmdlineMember, find_kernel, lay};
use crate::error::Error;

#[test]
fn the_kernel_is_found_by_its_whole_name() {
    let archive = tar(&[
        ("boot/kernel.old", b"no"),
        ("bin/boot/kernel", b"no"),
        ("boot/kernel", b"yes"),
        ("www/index.html", &[b'x'; 5000]),
    ]);
    assert_eq!(find_kernel(&archive).expect("it is there"), b"yes");
    let archive = tar(&[("kernel", b"no")]);
    assert!(matches!(find_kernel(&archive), Err(Error::NoKernel)));
}

#[test]
fn no_cut_archive_is_taken() {
    let archive = tar(&[("boot/kernel", &[7; 1500]), ("bin/x", &[8; 600])]);
    for len in 0..archive.len() {
        assert!(
            matches!(find_kernel(&archive[..len]), Err(Error::Archive(_))),
            "cut to {len}"
        );
    }
    assert!(find_kernel(&archive).is_ok());
}

#[test]
fn no_damage_is_a_panic() {
    let good = tar(&[("boot/kernel", &[7; 700]), ("bin/x", &[8; 100])]);
    let mut refused = 0;
    for seed in 0..20_000 {
        let mut chance = Chance::new(seed);
        let mut bad = good.clone();
        for _ in 0..=chance.below(4) {
            let at = chance.below(bad.len() as u64) as usize;
            bad[at] = chance.below(256) as u8;
        }
        refused += u32::from(find_kernel(&bad).is_err());
    }
    assert!(refused > 1000, "headers are checked: {refused}");
}

#[test]
fn headers_with_a_right_checksum_and_wrong_fields_are_no_panic() {
    // Damage that the checksum cannot show, in every field of both headers.
    let good = tar(&[("boot/kernel", &[7; 700]), ("bin/x", &[8; 100])]);
    for header in [0, 3 * 512] {
        for at in 0..512 {
            for byte in [0, b'0', b'7', b'-', b'+', b' ', b'x', b'g', 0x80, 0xff] {
                let mut bad = good.clone();
                bad[header + at] = byte;
                bad[header + 148..header + 156].fill(b' ');
                let block = &bad[header..header + 512];
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                let sum = std::format!("{sum:06o}\0 ");
                bad[header + 148..header + 156].copy_from_slice(sum.as_bytes());
                let _ = find_kernel(&bad);
            }
        }
    }
}

#[test]
fn the_command_line_is_a_member_as_tar_knows_it() {
    for len in [0usize, 1, 511, 512, 513, 4095] {
        let text: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let member = CmdlineMember::new(&text);
        assert_eq!(member.len(), 512 + len.next_multiple_of(512));

        let mut bytes = std::vec![0; member.len()];
        member.lay(&mut bytes, 0x1000, 0x1000);
        bytes.extend(tar(&[("bin/x", b"content")]));
        let archive = TarArchiveRef::new(&bytes).expect("a valid archive");
        let files: Vec<_> = archive.entries().collect();
        assert_eq!(files[0].filename().as_str(), Ok("cmdline"));
        assert_eq!(files[0].data(), text);
        let header = files[0].posix_header();
        assert_eq!({ header.size }.as_number::<usize>(), Ok(len));
        let mode = { header.mode }.to_flags().expect("a mode");
        assert_eq!(mode.bits(), 0o444);
        assert_eq!(files[1].data(), b"content");
    }
}

#[test]
fn pieces_are_laid_page_by_page() {
    let piece: Vec<u8> = (1..=100).collect();
    for start in 0..48 {
        let mut run = [0u8; 160];
        for (index, page) in run.chunks_mut(16).enumerate() {
            lay(page, 1000 + 16 * index as u64, &piece, 1000 + start);
        }
        let mut want = [0u8; 160];
        want[start as usize..start as usize + 100].copy_from_slice(&piece);
        assert_eq!(run, want);
    }
    let mut page = [9; 16];
    lay(&mut page, 64, &piece, 80);
    lay(&mut page, 200, &piece, 100);
    assert_eq!(page, [9; 16], "a page that the piece does not touch");
}
