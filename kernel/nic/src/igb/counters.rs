//! What the driver counts itself, by name.

use super::config::{QUEUES, VECTORS};
use super::interrupts::Interrupts;
use super::receive;
use super::receiver::Receiver;
use super::sender::Sender;
use super::transmit::{self, Transmit};
use crate::chip::Counters;

/// Visits the sums over all queues, and then each vector and queue.
pub fn visit(
    common: &Counters,
    (sender, receiver): (&Sender, &Receiver),
    interrupts: &Interrupts,
    visit: &mut dyn FnMut(&str, u64),
) {
    let (sending, receiving) = (&sender.rings, &receiver.rings);
    let sent = |count: fn(&Transmit) -> u64| -> u64 { sending.iter().map(count).sum() };
    let tx = |count: fn(&transmit::Counters) -> u64| -> u64 {
        sending.iter().map(|ring| count(&ring.counters)).sum()
    };
    let rx = |count: fn(&receive::Counters) -> u64| -> u64 {
        receiving.iter().map(|ring| count(&ring.counters)).sum()
    };
    for (name, value) in [
        ("tx_frames", sent(Transmit::frames)),
        ("tx_octets", tx(|queue| queue.octets)),
        ("tx_completed", tx(|queue| queue.completed)),
        ("tx_segmented", tx(|queue| queue.segmented)),
        ("tx_descriptors", sent(Transmit::descriptors)),
        ("tx_contexts", tx(|queue| queue.contexts)),
        ("tx_doorbells", tx(|queue| queue.doorbells)),
        ("rx_frames", rx(|queue| queue.frames) - common.rx_unread),
        (
            "rx_octets",
            rx(|queue| queue.octets) - common.rx_unread_octets,
        ),
        ("rx_descriptors", rx(|queue| queue.descriptors)),
        ("rx_doorbells", rx(|queue| queue.tail_writes)),
        ("rx_arms", receiver.arms),
        ("rx_wakes_for_nothing", interrupts.wakes_for_nothing),
        ("rx_dropped_errors", rx(|queue| queue.dropped_errors)),
        ("rx_checksum_errors", rx(|queue| queue.checksum_errors)),
        ("rx_dropped_long", rx(|queue| queue.dropped_long)),
        ("interrupts", interrupts.counts.iter().sum()),
    ] {
        visit(name, value);
    }
    let vectors = usize::from(interrupts.vectors());
    for (name, &count) in VECTOR_NAMES.iter().zip(&interrupts.counts).take(vectors) {
        visit(name, count);
    }
    for (name, queue) in RECEIVE_NAMES.iter().zip(receiving) {
        visit(name, queue.counters.frames);
    }
    for (name, queue) in TRANSMIT_NAMES.iter().zip(sending) {
        visit(name, queue.frames());
    }
}

/// Names with these numbers.
macro_rules! numbered {
    ($name:literal: $($number:literal)*) => { [$(concat!($name, $number)),*] };
}

const VECTOR_NAMES: [&str; VECTORS as usize] = numbered!("vector_": 0 1 2 3 4 5 6 7 8 9);
const RECEIVE_NAMES: [&str; QUEUES] = numbered!("rx_queue_": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
const TRANSMIT_NAMES: [&str; QUEUES] =
    numbered!("tx_queue_": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
