use std::string::ToString;

use bootloader_api::config::Mapping;

use crate::layout::{HIGHER_HALF, LAST_PAGE, Layout, PAGE, Request};

const SLOT: u64 = 1 << 39;

fn request(mapping: Mapping, len: u64, align: u64) -> Request {
    Request {
        what: "thing",
        mapping,
        len,
        align,
    }
}

fn fixed(addr: u64, len: u64) -> Request {
    request(Mapping::FixedAddress(addr), len, PAGE)
}

fn dynamic(len: u64, align: u64) -> Request {
    request(Mapping::Dynamic, len, align)
}

#[test]
fn fixed_addresses_are_kept_and_dynamic_ones_go_around_them() {
    let mut layout = Layout::new(None, None);
    let places = layout
        .place(&[
            dynamic(3 * PAGE, PAGE),
            fixed(HIGHER_HALF + PAGE, PAGE),
            dynamic(PAGE, PAGE),
            dynamic(2 * SLOT, SLOT),
            fixed(HIGHER_HALF + SLOT, PAGE),
            dynamic(0, PAGE),
        ])
        .expect("there is room");
    assert_eq!(
        places,
        [
            HIGHER_HALF + 2 * PAGE,
            HIGHER_HALF + PAGE,
            HIGHER_HALF,
            HIGHER_HALF + 2 * SLOT,
            HIGHER_HALF + SLOT,
            0
        ]
    );
}

#[test]
fn the_dynamic_range_is_kept() {
    let mut layout = Layout::new(Some(2 * SLOT + 1), Some(2 * SLOT + 4 * PAGE));
    let places = layout.place(&[dynamic(2 * PAGE, PAGE), dynamic(PAGE, PAGE)]);
    let places = places.expect("there is room");
    assert_eq!(places, [2 * SLOT + PAGE, 2 * SLOT + 3 * PAGE]);
    let error = layout
        .place(&[dynamic(PAGE, PAGE)])
        .expect_err("it is full");
    assert!(error.to_string().contains("dynamic range is full"));
}

#[test]
fn a_dynamic_range_from_zero_passes_over_the_boot_stage_and_the_hole() {
    let mut layout = Layout::new(Some(0), None);
    let lower_half = (1 << 47) - SLOT;
    let places = layout.place(&[dynamic(PAGE, PAGE), dynamic(lower_half, PAGE)]);
    assert_eq!(places.expect("there is room"), [SLOT, HIGHER_HALF]);
    // And nonsense ranges are full, not a panic.
    for (start, end) in [(u64::MAX, u64::MAX), (SLOT, 0), (LAST_PAGE, u64::MAX)] {
        let mut layout = Layout::new(Some(start), Some(end));
        assert!(layout.place(&[dynamic(PAGE, PAGE)]).is_err());
    }
}

#[test]
fn bad_addresses_are_refused_with_a_reason() {
    let refused = |request: Request, why: &str| {
        let mut layout = Layout::new(None, None);
        layout
            .claim("kernel", LAST_PAGE - PAGE..LAST_PAGE)
            .expect("free");
        let error = layout.place(&[request]).expect_err("a bad address");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("thing"), "{text}");
    };
    refused(fixed(HIGHER_HALF + 1, PAGE), "page-aligned");
    refused(fixed(0, PAGE), "boot stage's");
    refused(fixed(SLOT - PAGE, 2 * PAGE), "boot stage's");
    refused(fixed(1 << 47, PAGE), "not canonical");
    refused(fixed((1 << 47) - PAGE, 2 * PAGE), "not canonical");
    refused(fixed(LAST_PAGE, PAGE), "end of the address space");
    refused(fixed(LAST_PAGE, u64::MAX), "end of the address space");
    refused(fixed(LAST_PAGE - PAGE, PAGE), "taken");
    let large = 1 << 21;
    let unaligned = request(Mapping::FixedAddress(HIGHER_HALF + PAGE), PAGE, large);
    refused(unaligned, "2 MiB");
    refused(dynamic(u64::MAX, PAGE), "full");
    refused(dynamic(1 << 47, 1 << 47), "full");
}
