//! `rawsend[,SIZE[,SECONDS[,FILE[,copy]]]]` sends frames of SIZE bytes (60) as fast as the card
//! takes them for SECONDS (10), straight to the card, and tells how many that were. `make bench`
//! counts them where they arrive.
//!
//! With FILE, a path in the ramdisk, they carry the file, piece by piece, again and again: the
//! card takes each piece from where it lies, behind headers from a buffer; with `copy`, it is
//! copied behind them first, to see what the other saves.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::ops::Range;
use programs::rawsend::{self as raw, Filled, Pieces};
use runtime::args::Args;
use runtime::ipc::{FOREVER, mask};
use runtime::nic::{Card, MacAddress, Mapped, SendBuffer, SendOptions, Sending, station};
use runtime::start::Context;
use runtime::{ipc, println, ramdisk, time};

runtime::entry!(
    "\
usage: rawsend[,SIZE[,SECONDS[,FILE[,copy]]]]
  sends frames as fast as card 0 takes them, and tells how many that were
  SIZE     bytes of a frame, 42 to 1514; 60 if not said
  SECONDS  how long; 10 if not said
  FILE     a path in the ramdisk: the frames carry it, fetched by the card;
           or to=STATION, to which the frames are sent, not to nobody
  copy     the program copies the file's bytes into the frames instead",
    options,
    main
);

struct Options {
    size: usize,
    seconds: u32,
    file: Option<&'static str>,
    to: Option<MacAddress>,
    copy: bool,
}

fn options(args: &mut Args<'static>) -> Result<Options, String> {
    let (size, seconds) = (
        args.parsed("size", 60)?,
        args.parsed("number of seconds", 10)?,
    );
    let word = args.next();
    let to = word.and_then(|word| station(word.strip_prefix("to=")?));
    Ok(Options {
        size,
        seconds,
        file: word.filter(|_| to.is_none()),
        to,
        copy: args.word("copy")?,
    })
}

fn main(options: Options) -> Result<(), String> {
    let Options {
        size,
        seconds,
        file,
        to,
        copy,
    } = options;
    let card = Card::attach(0).context("card 0")?;
    let info = card.info().context("card 0")?;
    let mut frame = raw::datagram(size, info.mac);
    if let Some(to) = to {
        frame[..to.len()].copy_from_slice(&to);
    }
    let mut file = match file {
        Some(path) => {
            let file = ramdisk::place(path).context(path)?;
            let len = frame.len() - raw::HEADERS;
            Some(Pieces::new(file, len).ok_or("the file is shorter than a frame's payload")?)
        }
        None => None,
    };
    let mut card = Mapped::new(card).context("the card's buffers")?;
    println!("rawsend: sending frames of {} bytes", frame.len());
    let start = time::clock_ns();
    let end = start.saturating_add(u64::from(seconds) * 1_000_000_000);
    let mut sent = 0_u64;
    let mut full = 0_u64;
    let mut filled = Filled::default();
    while time::clock_ns() < end {
        let sending = &mut card.sending;
        // As many as there are buffers at hand, in one system call and with one doorbell.
        while !sending.has_batch()
            && let Some(mut buffer) = sending.take(frame.len())
        {
            // All buffers hold the same, but for a file's bytes that are copied behind.
            if filled.is_new(buffer.number()) {
                let bytes = sending.bytes_mut(&mut buffer, frame.len());
                bytes.copy_from_slice(&frame);
            }
            match file.as_mut() {
                None => sending.queue(buffer, frame.len(), SendOptions::default(), None),
                Some(file) => queue_piece(sending, buffer, file.next(), copy),
            }
            sent += 1;
        }
        // Armed, once, so that nobody looks for frames that are not wanted.
        card.exchange(true).context("send")?;
        if !card.sending.has_buffers() {
            full += 1;
            ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
        }
    }
    while card.sending.has_queued() {
        card.exchange(false).context("send")?;
    }
    let rate = raw::per_second(sent, time::clock_ns() - start);
    println!("rawsend: {sent} frames, {rate} a second, ring full {full} times");
    Ok(())
}

/// Queues headers, which the buffer has, and a piece of a file.
#[inline(never)]
fn queue_piece(sending: &mut Sending, mut buffer: SendBuffer, piece: Range<u32>, copy: bool) {
    let len = piece.end - piece.start;
    if !copy {
        let tail = Some((piece.start, len));
        return sending.queue(buffer, raw::HEADERS, SendOptions::default(), tail);
    }
    let from = piece.start as usize..piece.end as usize;
    let whole = raw::HEADERS + from.len();
    let place = sending.bytes_mut(&mut buffer, whole);
    place[raw::HEADERS..].copy_from_slice(&ramdisk::bytes()[from]);
    sending.queue(buffer, whole, SendOptions::default(), None);
}
