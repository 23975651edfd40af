//! The arguments, the text, and the table.

use super::*;
use abi::wire::Name;
use runtime::nic::{Counter, Features, Link, NicInfo, Segmentation};

fn info() -> NicInfo {
    NicInfo {
        driver: Name::new("igb"),
        chip: Name::new("Intel 82576"),
        pci_address: 1 << 8 | 3 << 3 | 1,
        mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        link: Link {
            up: true,
            speed_mbps: 1000,
            full_duplex: true,
        },
        frame_max: 1514,
        transmit_ring: 255,
        receive_ring: 256,
        features: Features {
            checksums: true,
            segmentation: Segmentation {
                frame_max: 65_549,
                segment_max: 1514,
                payload_min: 64,
                headers_max: 144,
            },
            is_virtual: false,
            receive_queues: 16,
            transmit_queues: 16,
            vectors: 10,
            vlan: true,
            filters: true,
        },
    }
}

fn text(counters: &[(&str, u64)]) -> String {
    let counters: Vec<Counter> = counters
        .iter()
        .map(|&(name, value)| Counter::new(name, value))
        .collect();
    describe(&info(), &counters)
}

fn report(counters: &[(&str, u64)]) -> Report {
    Report::parse(&text(counters)).unwrap()
}

/// The line of a table that starts with these words.
fn line<'a>(table: &'a str, start: &str) -> &'a str {
    let mut lines = table.lines();
    lines
        .find(|line| line.trim_start().starts_with(start))
        .unwrap_or_else(|| panic!("no {start} in\n{table}"))
}

#[test]
fn arguments_are_read() {
    let parse = |words: &str| Options::parse(&mut Args::new(words));
    assert_eq!(parse(""), Ok(Options::default()));
    assert_eq!(
        parse("1,-w,5,-a,-r,-s,-t"),
        Ok(Options {
            stack: Some(1.into()),
            all: true,
            plain: true,
            server: true,
            time: true,
            interval_s: Some(5),
        })
    );
    assert_eq!(parse("-w,-a").unwrap().interval_s, Some(1));
    for word in ["-x", "ETH0", "256", "-1", "-w5"] {
        let unknown = format!("argument 1: `{word}` is unknown");
        assert_eq!(parse(word), Err(unknown));
    }
    let unknown = "argument 2: `1` is unknown";
    assert_eq!(parse("-a,1"), Err(unknown.into()));
    for word in ["0", "3601", "soon", ""] {
        let bad = format!("`{word}` is no interval: 1 to 3600 seconds");
        assert_eq!(parse(&format!("-w,{word}")), Err(bad));
    }
}

#[test]
fn the_usage_is_80_columns_wide() {
    assert!(USAGE.lines().all(|line| line.len() <= table::WIDTH));
}

#[test]
fn a_card_is_text_and_back() {
    let written = text(&[("rx_frames", 12), ("tx_frames", u64::MAX)]);
    assert_eq!(
        written,
        "driver igb\nchip Intel 82576\npci 01:03.1\nmac 52:54:00:12:34:56\nlink up 1000 full\n\
         frame_max 1514\ntransmit_ring 255\nreceive_ring 256\ntransmit_queues 16\n\
         receive_queues 16\nchecksums yes\nsegment_max 65549\nsegment_min 64\n\
         vlan yes\nfilters yes\nrx_frames 12\ntx_frames 18446744073709551615\n"
    );
    let report = Report::parse(&written).unwrap();
    assert_eq!(report.field("link"), Some("up 1000 full"));
    assert_eq!(report.field("rx_frames"), None);
    assert_eq!(report.counter("tx_frames"), Some(u64::MAX));
    assert_eq!(report.counter("tx_errors"), None);
    let down = NicInfo {
        link: Link::default(),
        ..info()
    };
    let report = Report::parse(&describe(&down, &[])).unwrap();
    assert_eq!(report.field("link"), Some("down"));
}

#[test]
fn the_longest_description_fits_what_the_program_lends() {
    // Those of the network server, beside the kernel's.
    const OWN: usize = 4;
    let name = "x".repeat(32);
    let counters = [Counter::new(&name, u64::MAX); Counter::COUNT_MAX + OWN];
    assert!(describe(&info(), &counters).len() <= runtime::socket::CARD_MAX);
}

#[test]
fn a_line_that_is_no_counter_is_named() {
    for (bad, number) in [
        ("driver e100\nrx_frames", 2),
        ("driver e100\n\nrx_frames 1\n", 2),
        ("rx_frames -1\n", 1),
        ("rx_frames 1 2\n", 1),
        ("rx_frames 18446744073709551616\n", 1),
        (" 7\n", 1),
        ("driver e100\nrx_frames 1\nlink_speed fast\n", 3),
    ] {
        assert_eq!(Report::parse(bad), Err(BadLine(number)), "{bad:?}");
    }
    assert_eq!(Report::parse(""), Ok(Report::default()));
}

#[test]
fn text_is_cut_at_a_line_end() {
    let text = "driver e100\nlink down\n";
    assert_eq!(whole_lines(text, 100), text);
    assert_eq!(whole_lines(text, text.len()), text);
    assert_eq!(whole_lines(text, text.len() - 1), "driver e100\n");
    assert_eq!(whole_lines(text, 12), "driver e100\n");
    assert_eq!(whole_lines(text, 11), "");
    assert_eq!(whole_lines(text, 0), "");
}

#[test]
fn the_table_tells_of_card_link_and_rings() {
    let report = report(&[("tx_frames", 7), ("tx_completed", 5), ("rx_waiting", 3)]);
    let table = table(&report, None, false);
    let head: Vec<&str> = table.lines().take(7).collect();
    assert_eq!(
        head,
        [
            "card      Intel 82576 (igb) at 01:03.1",
            "link      up, 1000 Mb/s, full duplex",
            "MAC       52:54:00:12:34:56",
            "frames    up to 1514 bytes",
            "offloads  checksums, TCP segmentation up to 65549 bytes, VLAN tags, filters",
            "transmit  16 queues, 255 frames, 2 not done",
            "receive   16 queues, 256 frames, 3 waiting",
        ]
    );
    assert!(!table.contains("rx_waiting"));
    assert!(table.ends_with("\ndrops and errors\n  none\n"), "{table}");
}

#[test]
fn a_reset_explains_frames_that_are_never_done() {
    let report = report(&[("tx_frames", 7), ("tx_completed", 5), ("resets", 1)]);
    let table = table(&report, None, false);
    assert!(line(&table, "transmit  ").ends_with("2 not done or lost in a reset"));
    assert!(line(&table, "resets").ends_with("each loses the frames in flight"));
}

#[test]
fn a_link_that_is_down_or_not_described_is_no_trouble() {
    for (link, shown) in [
        ("link down\n", "link      down"),
        ("link up 0 half\n", "link      up"),
        ("", "link      ?"),
    ] {
        let table = table(&Report::parse(link).unwrap(), None, true);
        assert_eq!(line(&table, "link"), shown);
        assert_eq!(line(&table, "transmit"), "transmit  ring of ? frames");
    }
}

#[test]
fn zeros_are_left_out_unless_all_are_wanted() {
    let counters = [("rx_frames", 0), ("rx_missed", 0), ("rx_batches", 0)];
    let report = report(&counters);
    let short = table(&report, None, false);
    assert!(short.contains("rx_frames"));
    assert!(!short.contains("rx_missed") && !short.contains("rx_batches"));
    let long = table(&report, None, true);
    for (name, _) in counters {
        line(&long, name);
    }
}

#[test]
fn a_drop_comes_with_its_reason() {
    let report = report(&[("rx_dropped_long", 3), ("rx_frames", 9)]);
    let table = table(&report, None, false);
    assert_eq!(
        line(&table, "rx_dropped_long"),
        "  rx_dropped_long                  3  longer than the longest frame"
    );
    assert!(table.find("drops and errors") < table.find("rx_dropped_long"));
    assert!(table.find("rx_frames") < table.find("drops and errors"));
}

#[test]
fn changes_stand_beside_totals() {
    let before = report(&[("rx_frames", 100), ("rx_octets", 7), ("resets", 2)]);
    let after = report(&[
        ("rx_frames", 112),
        ("rx_octets", 7),
        ("resets", 0),
        ("tx_hangs", 4),
    ]);
    let table = table(&after, Some(&before), false);
    let words = |start| line(&table, start).split_whitespace().collect::<Vec<_>>();
    assert_eq!(words("rx_frames")[1..4], ["112", "+12", "given"]);
    assert_eq!(words("rx_octets")[1..3], ["7", "bytes"]);
    // A network server or driver that started anew counts from zero.
    assert_eq!(words("resets")[1..3], ["0", "-2"]);
    // There is nothing to compare a new counter with.
    assert_eq!(words("tx_hangs")[1..3], ["4", "no"]);
}

#[test]
fn queues_have_both_directions_in_a_line() {
    let before = report(&[("rx_queue_10", 3), ("tx_queue_10", 5), ("rx_queue_2", 1)]);
    let after = report(&[
        ("rx_queue_10", 4),
        ("rx_queue_2", 1),
        ("rx_queue_0", 0),
        ("tx_queue_2", 0),
        ("tx_queue_10", 8),
    ]);
    let table = table(&after, Some(&before), false);
    let mut rows = table.lines().skip_while(|line| !line.starts_with("queues"));
    assert_eq!(rows.next(), Some("queues     received               sent"));
    assert_eq!(rows.next(), Some("  2               1                  0"));
    assert_eq!(
        rows.next(),
        Some("  10              4      +1          8      +3")
    );
    assert_eq!(rows.next(), Some(""));
    assert_eq!(
        after
            .counters()
            .filter(|(name, _)| table.contains(name))
            .count(),
        0
    );
}

#[test]
fn reasons_are_not_crowded_out_by_changes() {
    let losses = [("rx_dropped_small_buffer", 0), ("statistics_timeouts", 0)];
    let before = report(&losses);
    let after = report(&losses.map(|(name, _)| (name, 999_999)));
    let table = table(&after, Some(&before), false);
    assert!(line(&table, "rx_dropped_small").ends_with("  the reader's buffer was too small"));
    assert!(line(&table, "statistics").ends_with("  the card did not dump its counters"));
}

#[test]
fn no_line_is_wider_than_80_columns() {
    let name = "x".repeat(32);
    let before = report(&[(&name, 0), ("rx_queue_15", 0)]);
    let after = report(&[
        (&name, u64::MAX),
        ("rx_overrun_errors", 99_999_999_999_999),
        ("rx_queue_15", 99_999_999_999_999),
        ("tx_queue_15", 99_999_999_999_999),
        ("tx_frames", 99_999_999_999_999),
        ("resets", 1),
        ("tx_completed", 0),
    ]);
    for before in [None, Some(&before)] {
        for line in table(&after, before, true).lines() {
            assert!(line.len() <= table::WIDTH, "{} columns: {line}", line.len());
        }
    }
}
