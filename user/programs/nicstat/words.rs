//! Which part of the table a counter belongs to, and what it means in words.
//!
//! Names are the drivers' (`kernel/nic`). One that is not known here goes where its name
//! says, without words, so that a new counter needs no change here.

abi::numbered! {
    /// A part of the table, in the order they are printed.
    #[repr(u8)]
    pub enum Group {
        /// What came.
        Receive = 0 => "receive",
        /// What went.
        Transmit = 1 => "transmit",
        /// One counter for each queue and direction.
        Queues = 2 => "queues",
        /// How often the card asked for attention.
        Interrupts = 3 => "interrupts",
        /// The card itself.
        Card = 4 => "card",
        /// What passes between the functions of a card.
        Functions = 5 => "virtual functions",
        /// What did not get through, and why.
        Losses = 6 => "drops and errors",
    }
}

/// Words by which a name tells of something lost, if the table below does not know it.
const LOSSES: [&str; 13] = [
    "drop",
    "error",
    "miss",
    "lost",
    "collision",
    "timeout",
    "hang",
    "run",
    "bad",
    "no_buffer",
    "refused",
    "reset",
    "fail",
];

/// Counters that are shown even if they are zero.
pub const MAIN: [&str; 5] = [
    "rx_frames",
    "rx_octets",
    "tx_frames",
    "tx_octets",
    "interrupts",
];

/// The one number of a driver that is no count but a state: it stands with the ring.
pub const WAITING: &str = "rx_waiting";

/// The words are at most that long, so that they fit beside a total of 10 digits and a
/// change of 6.
#[cfg(test)]
const WORDS_MAX: usize = 34;

#[rustfmt::skip]
const KNOWN: &[(&str, Group, &str)] = &[
    // The drivers' own counts.
    ("rx_frames", Group::Receive, "given to the network server"),
    ("rx_octets", Group::Receive, "bytes of those"),
    (WAITING, Group::Receive, "received and not read yet"),
    ("rx_batches", Group::Receive, "times that frames were waiting"),
    ("rx_arms", Group::Receive, "times the rings were empty"),
    ("rx_wakes_for_nothing", Group::Receive, "woken with nothing there"),
    ("rx_descriptors", Group::Receive, "descriptors they took"),
    ("rx_doorbells", Group::Receive, "tail writes: buffers given back"),
    ("rx_restarts", Group::Losses, "the receiver had no free buffer"),
    ("tx_frames", Group::Transmit, "taken from the network server"),
    ("tx_octets", Group::Transmit, "bytes of those"),
    ("tx_completed", Group::Transmit, "the card is done with"),
    ("tx_segmented", Group::Transmit, "to be cut into TCP segments"),
    ("tx_descriptors", Group::Transmit, "data descriptors they took"),
    ("tx_contexts", Group::Transmit, "context descriptors"),
    ("tx_doorbells", Group::Transmit, "times the card was told of frames"),
    ("tx_ring_full", Group::Transmit, "ring was full: the frame waits"),
    ("interrupts", Group::Interrupts, "all that the driver served"),
    ("interrupts_of_line", Group::Interrupts, "the card's count of its line"),
    ("link_changes", Group::Card, "the link came or went"),
    ("resets", Group::Card, "each loses the frames in flight"),
    ("rx_dropped_errors", Group::Losses, "the card marked it as damaged"),
    ("rx_checksum_errors", Group::Losses, "the card found a checksum wrong"),
    ("rx_dropped_long", Group::Losses, "longer than the longest frame"),
    ("rx_dropped_small_buffer", Group::Losses, "the reader's buffer was too small"),
    ("rx_lost_in_reset", Group::Losses, "not read yet when it was reset"),
    ("rx_dropped_vlan", Group::Losses, "of a VLAN that we are not in"),
    ("rx_dropped_checksum", Group::Losses, "IPv4 header or TCP: wrong checksum"),
    ("rx_dropped_piece", Group::Losses, "a piece without the rest of it"),
    ("tx_dropped", Group::Losses, "given up; another line says why"),
    ("tx_lost_in_reset", Group::Losses, "not done yet when it was reset"),
    ("tx_dropped_no_buffer", Group::Losses, "no buffer to build a frame in"),
    ("tx_bad_length", Group::Losses, "no bytes, or more than a frame's"),
    ("tx_bad_headers", Group::Losses, "no headers for what was asked"),
    ("tx_bad_vlan", Group::Losses, "no VLAN has that number"),
    ("tx_bad_buffer", Group::Losses, "not a buffer of the sender"),
    ("tx_unsupported", Group::Losses, "the card does not do that"),
    ("tx_unreachable", Group::Losses, "out of the card's reach in memory"),
    ("tx_card_broken", Group::Losses, "while the card did not work"),
    ("tx_hangs", Group::Losses, "no progress with work pending"),
    ("dma_faults", Group::Losses, "stopped by the IOMMU: not its own"),
    ("bad_descriptors", Group::Losses, "the card wrote what cannot be"),
    ("mdi_timeouts", Group::Losses, "the PHY did not answer in time"),
    ("statistics_timeouts", Group::Losses, "the card did not dump its counters"),
    // The cards' counts, both chips.
    ("rx_good_frames", Group::Receive, "the card's count of good frames"),
    ("tx_good_frames", Group::Transmit, "the card's count of good frames"),
    ("rx_crc_errors", Group::Losses, "wrong frame check sequence"),
    ("rx_alignment_errors", Group::Losses, "not whole octets, and wrong check"),
    ("tx_late_collisions", Group::Losses, "collision after 64 octets"),
    ("tx_deferred", Group::Transmit, "waited: the wire was busy"),
    // 8255x OSDM, section 6.3.2.2.
    ("rx_resource_errors", Group::Losses, "no free buffer in memory"),
    ("rx_overrun_errors", Group::Losses, "card's FIFO full: the bus was slow"),
    ("rx_collision_errors", Group::Losses, "collision while receiving"),
    ("rx_short_frames", Group::Losses, "under 64 octets"),
    ("tx_max_collisions", Group::Losses, "given up after 16 collisions"),
    ("tx_underruns", Group::Losses, "card's FIFO empty: bus was slow"),
    ("tx_lost_carrier", Group::Losses, "carrier lost while sending"),
    ("tx_single_collisions", Group::Transmit, "sent after one collision"),
    ("tx_multiple_collisions", Group::Transmit, "sent after several collisions"),
    ("tx_total_collisions", Group::Transmit, "all collisions"),
    // 82576EB datasheet, section 8.18.
    ("rx_all_frames", Group::Receive, "those for others and damaged too"),
    ("rx_good_octets", Group::Receive, "bytes of good frames, with check"),
    ("rx_all_octets", Group::Receive, "bytes of all frames, with check"),
    ("rx_broadcasts", Group::Receive, "good, to everybody"),
    ("rx_multicasts", Group::Receive, "good, to a group"),
    ("rx_pauses", Group::Receive, "flow control: asked to be silent"),
    ("tx_all_frames", Group::Transmit, "the card's count of all frames"),
    ("tx_good_octets", Group::Transmit, "bytes of good frames, with check"),
    ("tx_all_octets", Group::Transmit, "bytes of all frames, with check"),
    ("tx_broadcasts", Group::Transmit, "to everybody"),
    ("tx_multicasts", Group::Transmit, "to a group"),
    ("tx_segmented_by_card", Group::Transmit, "the card's count of cut frames"),
    ("tx_pauses", Group::Transmit, "flow control: asked for silence"),
    ("rx_errors", Group::Losses, "error on the wire while receiving"),
    ("rx_missed", Group::Losses, "no room in the card's buffer"),
    ("rx_length_errors", Group::Losses, "shorter or longer than allowed"),
    ("rx_no_buffer", Group::Losses, "no free descriptor"),
    ("rx_undersize", Group::Losses, "under 64 octets, right check"),
    ("rx_fragments", Group::Losses, "under 64 octets, wrong check"),
    ("rx_oversize", Group::Losses, "too long, right check"),
    ("rx_jabbers", Group::Losses, "too long, wrong check"),
    ("mailbox_answered", Group::Functions, "requests that the card answered"),
    ("mailbox_refused", Group::Functions, "of those, with no"),
    ("mailbox_notices", Group::Functions, "the card said something itself"),
    ("vlans_lost", Group::Functions, "another's after a reset"),
    ("vf_refused_before_reset", Group::Functions, "asked before it was let work"),
    ("vf_refused_mac", Group::Functions, "wanted another station address"),
    ("vf_refused_multicast", Group::Functions, "groups that there are not"),
    ("vf_refused_vlan", Group::Functions, "wanted another's VLAN, or many"),
    ("vf_refused_length", Group::Functions, "frames longer than the card's"),
    ("vf_refused_promiscuous", Group::Functions, "wanted what is for others"),
    ("vf_refused_unknown", Group::Functions, "requests that make no sense"),
    ("vf_locks_taken", Group::Functions, "mailboxes kept for too long"),
    ("vf_mail_silenced", Group::Functions, "interrupts were about nothing"),
];

/// Counters of each virtual function, `vf_N_` before them.
const FUNCTION: [(&str, &str); 4] = [
    ("_messages", "requests of this function"),
    ("_refused", "of those, refused"),
    ("_resets", "resets of this function"),
    ("_muted", "requests over its share"),
];

/// The group of a counter, and its meaning; empty if it is not known.
pub fn of(name: &str) -> (Group, &'static str) {
    if let Some(&(_, group, words)) = KNOWN.iter().find(|(known, ..)| *known == name) {
        return (group, words);
    }
    if queue(name).is_some() {
        return (Group::Queues, "");
    }
    if let Some(group) = size_class(name) {
        return (group, "frames of that many octets");
    }
    if numbered(name, "vector_").is_some() {
        return (Group::Interrupts, "messages with this vector");
    }
    for (end, words) in FUNCTION {
        let start = name.strip_suffix(end);
        if start.is_some_and(|start| numbered(start, "vf_").is_some()) {
            return (Group::Functions, words);
        }
    }
    let group = match name {
        _ if LOSSES.iter().any(|word| name.contains(word)) => Group::Losses,
        _ if name.contains("interrupt") || name.starts_with("vector") => Group::Interrupts,
        _ if name.starts_with("rx_") => Group::Receive,
        _ if name.starts_with("tx_") => Group::Transmit,
        _ => Group::Card,
    };
    (group, "")
}

/// A direction of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Receive,
    Transmit,
}

/// The queue of a counter that counts the frames of one queue: `rx_queue_N`, `tx_queue_N`.
pub fn queue(name: &str) -> Option<(Direction, u16)> {
    let receive = numbered(name, "rx_queue_").map(|number| (Direction::Receive, number));
    receive.or_else(|| Some((Direction::Transmit, numbered(name, "tx_queue_")?)))
}

/// The number of which a name consists after `prefix`.
fn numbered(name: &str, prefix: &str) -> Option<u16> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// The group of a counter of frames by size: `rx_64`, `tx_65_to_127`.
fn size_class(name: &str) -> Option<Group> {
    let (direction, size) = name.split_once('_')?;
    let group = match direction {
        "rx" => Group::Receive,
        "tx" => Group::Transmit,
        _ => return None,
    };
    size.starts_with(|c: char| c.is_ascii_digit())
        .then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_names_are_known_once() {
        for (index, (name, _, words)) in KNOWN.iter().enumerate() {
            assert!(words.len() <= WORDS_MAX, "{name}: {}", words.len());
            assert!(name.len() <= 32, "{name}");
            assert!(
                KNOWN[..index].iter().all(|(other, ..)| other != name),
                "{name}"
            );
        }
    }

    #[test]
    fn a_counter_that_is_not_known_goes_where_its_name_says() {
        for (name, group) in [
            ("rx_strange_errors", Group::Losses),
            ("tx_dropped_late", Group::Losses),
            ("rx_vlan_frames", Group::Receive),
            ("tx_vlan_frames", Group::Transmit),
            ("vector_of_link", Group::Interrupts),
            ("tx_queue_15", Group::Queues),
            ("rx_queue_first", Group::Receive),
            ("temperature", Group::Card),
            ("vf_temperature", Group::Card),
        ] {
            assert_eq!(of(name), (group, ""), "{name}");
        }
    }

    #[test]
    fn families_share_their_words() {
        for (name, group) in [
            ("rx_64", Group::Receive),
            ("tx_1024_and_more", Group::Transmit),
            ("vector_9", Group::Interrupts),
            ("vf_6_muted", Group::Functions),
        ] {
            let (found, words) = of(name);
            assert_eq!(found, group, "{name}");
            assert!((1..=WORDS_MAX).contains(&words.len()), "{name}");
        }
        assert_eq!(queue("rx_queue_15"), Some((Direction::Receive, 15)));
        assert_eq!(queue("tx_queue_0"), Some((Direction::Transmit, 0)));
        assert_eq!(queue("tx_queue_"), None);
        assert_eq!(queue("rx_frames"), None);
    }
}
