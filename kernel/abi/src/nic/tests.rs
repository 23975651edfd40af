use super::*;
use crate::Error;

#[test]
fn info_round_trip() {
    let info = NicInfo {
        driver: Name::new("e100"),
        chip: Name::new("Intel 82559ER"),
        pci_address: 3 << 3,
        mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        link: Link {
            up: true,
            speed_mbps: 100,
            full_duplex: true,
        },
        frame_max: 1514,
        transmit_ring: 32,
        receive_ring: 256,
        features: Features {
            checksums: true,
            segmentation: Segmentation {
                frame_max: 65_549,
                segment_max: 1514,
                payload_min: 64,
                headers_max: 144,
            },
            receive_queues: 16,
            transmit_queues: 8,
            is_virtual: true,
            vectors: 10,
            vlan: true,
            filters: false,
        },
    };
    assert_eq!(NicInfo::from_bytes(&info.to_bytes()), Ok(info));
    assert_eq!(info.driver.as_str(), "e100");
    assert_eq!(info.chip.as_str(), "Intel 82559ER");
    assert_eq!(
        NicInfo::from_bytes(&[0; NicInfo::SIZE - 1]),
        Err(Error::Malformed)
    );
}

#[test]
fn each_limit_of_a_card_that_cuts_counts() {
    let segmentation = Segmentation {
        frame_max: 65_536,
        segment_max: 1514,
        payload_min: 64,
        headers_max: 144,
    };
    let takes = |headers, payload| segmentation.takes(headers, payload);
    assert!(takes(54, 64) && takes(54, 1460) && takes(144, 1370));
    assert!(!takes(54, 63) && !takes(54, 1461) && !takes(145, 1000));
    assert!(!Segmentation::default().takes(54, 1460));
}

#[test]
fn options_and_results_fit_registers() {
    let options = SendOptions {
        checksums: true,
        segment_size: 1460,
        vlan: Some(0xefff),
    };
    assert!(!options.is_none() && SendOptions::default().is_none());
    for (options, more) in [
        (options, false),
        (options, true),
        (SendOptions::default(), true),
    ] {
        let register = options.to_register(more);
        assert_eq!(SendOptions::from_register(register), (options, more));
    }
    let frame = ReceivedFrame {
        len: 1514,
        checksums_right: true,
        vlan: Some(0xffff),
    };
    assert_eq!(ReceivedFrame::from_register(frame.to_register()), frame);
    // The upper half of the numbers is errors.
    assert!(crate::error::from_register(frame.to_register()).is_ok());
    assert_eq!(ReceivedFrame::from_register(60).len, 60);
}

#[test]
fn filters_round_trip_and_count_exactly() {
    let filters = Filters {
        promiscuous: false,
        all_multicast: true,
        unicast: &[[1; 6]],
        multicast: &[[2; 6], [3; 6]],
        vlans: Some(&[7]),
    };
    let (mut bytes, mut numbers) = ([0; 40], [0; 1]);
    let size = filters.write(&mut bytes).unwrap();
    assert_eq!(size, 8 + 18 + 2);
    assert_eq!(Filters::parse(&bytes[..size], &mut numbers), Ok(filters));
    for len in (0..size).chain([size + 1]) {
        let parsed = Filters::parse(&bytes[..len], &mut numbers);
        assert_eq!(parsed, Err(Error::Malformed));
    }
    let parsed = Filters::parse(&bytes[..size], &mut []);
    assert_eq!(parsed, Err(Error::TooLong));
    for len in 0..size {
        assert_eq!(filters.write(&mut bytes[..len]), Err(Error::TooLong));
    }
    let all = Filters::default();
    let size = all.write(&mut bytes).unwrap();
    assert_eq!(Filters::parse(&bytes[..size], &mut []), Ok(all));
    let groups = [[1; 6]; 70_000];
    let many = Filters {
        multicast: &groups,
        ..all
    };
    assert_eq!(many.write(&mut [0; 500_000]), Err(Error::TooLong));
}

#[test]
fn memory_round_trips_and_finds_buffers() {
    let memory = FrameMemory {
        small: (2, 2048),
        large: (1, 65_536),
        receive_len: 0x12_3000,
    };
    let bytes = memory.to_bytes();
    assert_eq!(FrameMemory::from_bytes(&bytes), Ok(memory));
    assert_eq!(FrameMemory::from_bytes(&bytes[1..]), Err(Error::Malformed));
    assert_eq!(memory.buffer(1), Some((2048, 2048)));
    assert_eq!(memory.buffer(2), Some((4096, 65_536)));
    assert_eq!(memory.buffer(3), None);
}

#[test]
fn counter_round_trip() {
    let counter = Counter::new("rx_good_frames", 7);
    assert_eq!(Counter::from_bytes(&counter.to_bytes()), Ok(counter));
    assert_eq!(counter.name.as_str(), "rx_good_frames");
}
