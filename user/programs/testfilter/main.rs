//! Tries a card's filters and VLAN tags: receives what they let through, prints a line about
//! each frame, and sends it back with both addresses exchanged and the same tag.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use runtime::args::Args;
use runtime::ipc::{FOREVER, mask};
use runtime::nic::{Card, FILTERS_MAX, Filter, Filters, MacAddress, SendOptions, station};
use runtime::start::Context;
use runtime::{Error, ipc, println};

runtime::entry!(
    "\
usage: testfilter[,FILTER...]
  prints a line about each frame that card 0 lets through, and sends it back
  promiscuous    everything on the wire
  groups         all frames to groups
  group=MAC      frames to this group
  station=MAC    frames to this station
  vlan=NUMBER    of frames with a VLAN tag, those of this number
  novlan         of frames with a VLAN tag, none
  share=COUNT    nothing else: takes no frame, but parts of the card with so
                 many filters, that others are found among them",
    wanted,
    main
);

/// The filters that the arguments name.
#[derive(Default)]
struct Wanted {
    promiscuous: bool,
    all_multicast: bool,
    unicast: Vec<MacAddress>,
    multicast: Vec<MacAddress>,
    vlans: Option<Vec<u16>>,
    share: u16,
}

/// Takes parts of the card by `count` filters for addresses that nobody has, and sleeps.
fn share(count: u16) -> Result<(), String> {
    let filters: Vec<Filter> = (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            Filter {
                address: Some([10, 7, high, low].into()),
                ..Filter::default()
            }
        })
        .collect();
    let mut parts = Vec::new();
    for filters in filters.chunks(FILTERS_MAX) {
        let part = Card::share(0, &mut filters.to_vec());
        parts.push(part.context("a part of card 0")?);
    }
    println!("testfilter: {count} filters in {} parts", parts.len());
    loop {
        ipc::wait(mask::DEATH, FOREVER).context("wait")?;
    }
}

fn main(wanted: Wanted) -> Result<(), String> {
    if wanted.share > 0 {
        return share(wanted.share);
    }
    let card = Card::attach(0).context("card 0")?;
    let info = card.info().context("card 0")?;
    let filters = Filters {
        promiscuous: wanted.promiscuous,
        all_multicast: wanted.all_multicast,
        unicast: &wanted.unicast,
        multicast: &wanted.multicast,
        vlans: wanted.vlans.as_deref(),
    };
    card.set_filters(&filters).context("the filters")?;
    println!("testfilter: receiving");
    let mut buffer = alloc::vec![0; info.frame_max.into()];
    loop {
        let received = match card.receive_with(&mut buffer) {
            Ok(received) => received,
            Err(Error::WouldBlock) => {
                ipc::wait(mask::NIC_RECEIVE, FOREVER).context("wait")?;
                continue;
            }
            Err(error) => return Err(error).context("receive"),
        };
        let frame = buffer.get_mut(..received.len as usize);
        let frame = frame.ok_or("the card has received more than there is room for")?;
        let [to, from, ..] = frame.as_chunks_mut::<6>().0 else {
            continue;
        };
        println!(
            "testfilter: to {to:02x?} vlan {:?} len {}",
            received.vlan, received.len
        );
        core::mem::swap(to, from);
        let options = SendOptions {
            vlan: received.vlan,
            ..SendOptions::default()
        };
        while let Err(error) = card.send_with(frame, options, false) {
            if error != Error::WouldBlock {
                return Err(error).context("send");
            }
            ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
        }
    }
}

fn wanted(args: &mut Args<'_>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(word) = args.next() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let bad = || alloc::format!("`{word}` is no filter");
        match name {
            "promiscuous" => wanted.promiscuous = true,
            "groups" => wanted.all_multicast = true,
            "group" => wanted.multicast.push(station(value).ok_or_else(bad)?),
            "station" => wanted.unicast.push(station(value).ok_or_else(bad)?),
            "novlan" => wanted.vlans = Some(Vec::new()),
            "vlan" => {
                let number = value.parse().map_err(|_| bad())?;
                wanted.vlans.get_or_insert_default().push(number);
            }
            "share" => wanted.share = value.parse().map_err(|_| bad())?,
            _ => return Err(args.unknown(word)),
        }
    }
    Ok(wanted)
}
