use super::*;
use crate::link::Link;
use crate::tests::world::{Chance, Nic, PEER_IP, SERVER_IP, nic};
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use smoltcp::phy::{PacketMeta, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::IpProtocol;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, Ipv4Address,
    Ipv4Repr, TcpControl, TcpRepr, TcpSeqNumber, TcpTimestampRepr,
};

/// A segment as smoltcp makes it.
#[derive(Clone)]
struct Sent {
    control: TcpControl,
    seq: u32,
    timestamp: bool,
    data: Vec<u8>,
}

impl Sent {
    fn random(chance: &mut Chance, len: usize) -> Self {
        let controls = [TcpControl::None, TcpControl::Psh, TcpControl::Fin];
        Sent {
            control: controls[chance.below(3) as usize],
            // Often over the end of the numbers.
            seq: (chance.next() as u32) | if chance.percent(50) { 0xffff_8000 } else { 0 },
            timestamp: chance.percent(30),
            data: chance.octets(len),
        }
    }

    /// Its frame; with all checksums, or with those of a card that does them.
    fn frame(&self, checksums: &ChecksumCapabilities) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: 80,
            dst_port: 40_000,
            control: self.control,
            seq_number: TcpSeqNumber(self.seq as i32),
            ack_number: Some(TcpSeqNumber(7)),
            window_len: 1234,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: self.timestamp.then_some(TcpTimestampRepr::new(5, 6)),
            payload: &self.data,
        };
        let (source, destination) = (Ipv4Address::from(SERVER_IP), Ipv4Address::from(PEER_IP));
        let ip = Ipv4Repr {
            src_addr: source,
            dst_addr: destination,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress([2; 6]),
            dst_addr: EthernetAddress([4; 6]),
            ethertype: EthernetProtocol::Ipv4,
        };
        let mut bytes = vec![0; ETHERNET + ip.buffer_len() + tcp.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, checksums);
        let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
        let (source, destination) = (IpAddress::Ipv4(source), IpAddress::Ipv4(destination));
        tcp.emit(&mut segment, &source, &destination, checksums);
        bytes
    }

    /// The segments that it would have been without us.
    fn pieces(&self, size: usize) -> Vec<Sent> {
        let count = self.data.len().div_ceil(size);
        let pieces = self.data.chunks(size).enumerate();
        pieces
            .map(|(index, data)| Sent {
                control: match index + 1 == count {
                    true => self.control,
                    false => TcpControl::None,
                },
                seq: self.seq.wrapping_add((index * size) as u32),
                timestamp: self.timestamp,
                data: data.to_vec(),
            })
            .collect()
    }
}

fn cut(segmenter: &mut Segmenter) -> Option<Vec<u8>> {
    // A ring's buffers hold old frames.
    let mut frame = vec![0xee; segmenter.next_len()?];
    segmenter.next(&mut frame);
    Some(frame)
}

fn put(segmenter: &mut Segmenter, frame: &[u8]) {
    segmenter.room(frame.len()).copy_from_slice(frame);
}

#[test]
fn the_frames_are_those_that_smoltcp_makes_itself() {
    let mut chance = Chance(1);
    let (all, none) = (
        ChecksumCapabilities::default(),
        ChecksumCapabilities::ignored(),
    );
    let mut segmenter = Segmenter::default();
    for _ in 0..2000 {
        let size = 1 + chance.below(1460) as usize;
        let len = 1 + chance.below(8 * size as u64) as usize;
        let sent = Sent::random(&mut chance, len);
        put(&mut segmenter, &sent.frame(&none));
        segmenter.begin(size, &all).unwrap();
        for piece in sent.pieces(size) {
            assert_eq!(cut(&mut segmenter).unwrap(), piece.frame(&all));
        }
        assert!(cut(&mut segmenter).is_none());
    }
}

#[test]
fn the_longest_is_whole_frames_and_fits_a_packet() {
    assert_eq!(longest(HEADERS, 1514, usize::MAX), 54 + 44 * 1460);
    // A card that cuts them itself, into such or jumbo frames.
    assert_eq!(longest(HEADERS, 1514, 65_536), 54 + 44 * 1460);
    assert_eq!(longest(HEADERS, 9014, 65_536), 54 + 7 * 8960);
    for frame_max in [576 + 14, 1514, 9014] {
        let size = frame_max - HEADERS;
        let octets = longest(HEADERS, frame_max, usize::MAX) - HEADERS;
        assert_eq!(octets % size, 0);
        assert!((65_535 - 40 - size..=65_535 - 40).contains(&octets));
    }
    let mut chance = Chance(2);
    let mut segmenter = Segmenter::default();
    let sent = Sent {
        timestamp: false,
        ..Sent::random(&mut chance, longest(HEADERS, 1514, usize::MAX) - HEADERS)
    };
    put(
        &mut segmenter,
        &sent.frame(&ChecksumCapabilities::ignored()),
    );
    segmenter
        .begin(1460, &ChecksumCapabilities::default())
        .unwrap();
    let lens: Vec<usize> = core::iter::from_fn(|| cut(&mut segmenter))
        .map(|frame| frame.len())
        .collect();
    assert_eq!(lens, [1514; 44]);
}

#[test]
fn options_stay_and_flags_are_where_they_belong() {
    let all = ChecksumCapabilities::default();
    let mut chance = Chance(3);
    let sent = Sent::random(&mut chance, 1000);
    let plain = sent.frame(&ChecksumCapabilities::ignored());
    // With eight octets of IPv4 options, and all of TCP's flags.
    let mut frame = plain.clone();
    frame.splice(34..34, [1; 8]);
    frame[14] = 0x47;
    frame[34 + 8 + FLAGS] = 0xff;
    let mut segmenter = Segmenter::default();
    put(&mut segmenter, &frame);
    segmenter.begin(300, &all).unwrap();
    let mut flags = Vec::new();
    let mut data = Vec::new();
    while let Some(frame) = cut(&mut segmenter) {
        let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(
            (ip.header_len(), usize::from(ip.total_len())),
            (28, frame.len() - 14)
        );
        assert_eq!(
            (&frame[34..42], ip.ident(), ip.dont_frag()),
            (&[1; 8][..], 0, true)
        );
        let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
        let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
        assert!(tcp.verify_checksum(&source, &destination));
        assert_eq!(
            tcp.seq_number().0 as u32,
            sent.seq.wrapping_add(data.len() as u32)
        );
        data.extend_from_slice(tcp.payload());
        flags.push(ip.payload()[FLAGS]);
    }
    assert_eq!(flags, [0xf6, 0x76, 0x76, 0x7f]);
    assert_eq!(data, sent.data);
}

#[test]
fn a_card_that_does_checksums_gets_none() {
    let mut chance = Chance(4);
    let none = ChecksumCapabilities::ignored();
    let sent = Sent::random(&mut chance, 5000);
    let mut segmenter = Segmenter::default();
    put(&mut segmenter, &sent.frame(&none));
    segmenter.begin(1460, &none).unwrap();
    for piece in sent.pieces(1460) {
        assert_eq!(cut(&mut segmenter).unwrap(), piece.frame(&none));
    }
}

#[test]
fn what_is_no_segment_with_data_is_not_cut() {
    let all = ChecksumCapabilities::default();
    let mut chance = Chance(5);
    let mut segmenter = Segmenter::default();
    put(&mut segmenter, &Sent::random(&mut chance, 0).frame(&all));
    assert!(segmenter.begin(100, &all).is_none() && cut(&mut segmenter).is_none());
    put(&mut segmenter, &Sent::random(&mut chance, 50).frame(&all));
    assert!(segmenter.begin(0, &all).is_none() && cut(&mut segmenter).is_none());
    // Another version of IP, and another protocol.
    for (at, octet) in [(14, 0x65), (23, 17)] {
        let mut frame = Sent::random(&mut chance, 50).frame(&all);
        frame[at] = octet;
        put(&mut segmenter, &frame);
        assert!(segmenter.begin(10, &all).is_none() && cut(&mut segmenter).is_none());
    }
    for _ in 0..20_000 {
        let len = chance.below(300) as usize;
        let mut frame = Sent::random(&mut chance, len).frame(&all);
        for _ in 0..chance.below(5) {
            let at = 14 + chance.below(frame.len() as u64 - 14) as usize;
            frame[at] = chance.next() as u8;
        }
        frame.truncate(chance.below(frame.len() as u64 + 1) as usize);
        put(&mut segmenter, &frame);
        let size = 1 + chance.below(100) as usize;
        let begun = segmenter.begin(size, &all);
        assert_eq!(begun.is_some(), segmenter.next_len().is_some());
        let frames = core::iter::from_fn(|| cut(&mut segmenter)).count();
        assert!(frames <= frame.len());
    }
}

fn send(port: &mut Link<Nic>, sent: &Sent, size: usize) -> bool {
    let Some(mut token) = port.transmit(Instant::ZERO, None) else {
        return false;
    };
    let frame = sent.frame(&ChecksumCapabilities::ignored());
    let mut meta = PacketMeta::default();
    if sent.data.len() > size {
        meta.segmentation_offload_size = NonZeroU16::new(size as u16);
    }
    token.set_meta(meta);
    token.consume(frame.len(), |room| room.copy_from_slice(&frame));
    true
}

#[test]
fn little_room_holds_segments_up_and_loses_and_reorders_nothing() {
    let all = ChecksumCapabilities::default();
    let mut chance = Chance(6);
    for room in [1, 2, 7, 44, 64] {
        let mut port = Link::new(nic(room));
        let (mut expected, mut left) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let size = 500 + chance.below(949) as usize;
            let len = chance.below(64_000) as usize;
            let sent = Sent::random(&mut chance, len);
            while !send(&mut port, &sent, size) {
                assert!(port.full && port.device.sent.len() == room);
                // The card sends some.
                let some = 1 + chance.below(room as u64) as usize;
                left.extend(port.device.sent.drain(..some));
                port.full = false;
            }
            match sent.data.len() {
                0 => expected.push(sent.frame(&all)),
                _ => expected.extend(sent.pieces(size).iter().map(|piece| piece.frame(&all))),
            }
        }
        while !port.finish(Instant::ZERO) {
            assert!(port.is_cutting());
            left.extend(port.device.sent.drain(..));
        }
        left.extend(port.device.sent.drain(..));
        assert!(left == expected && !port.is_cutting());
    }
}

#[test]
fn it_never_holds_more_than_one_segment() {
    let mut chance = Chance(7);
    let mut port = Link::new(nic(3));
    let most = port.capabilities().segmentation.tcpv4.unwrap().get() + ETHERNET;
    assert_eq!(most, longest(HEADERS, 1514, usize::MAX));
    let sent = Sent::random(&mut chance, 20_000);
    assert!(send(&mut port, &sent, 1000));
    for _ in 0..10 {
        assert!(!port.finish(Instant::ZERO) && !send(&mut port, &sent, 1000));
        assert!(port.transmit(Instant::ZERO, None).is_none());
    }
    assert_eq!(port.device.sent.len(), 3);
}
