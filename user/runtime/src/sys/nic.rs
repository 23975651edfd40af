//! The system calls on cards and on parts of them.
#![allow(unsafe_code)]

use super::{address, call_filling, call4, enter, records};
use abi::endpoint::{FILTERS_MAX, Filter};
use abi::error::from_register;
use abi::exchange;
use abi::nic::{Counter, FrameMemory, NicInfo, ReceivedFrame, SendOptions};
use abi::{Error, Result, Syscall};
use alloc::vec::Vec;

/// Cards that anybody can have the right to.
const CARDS_MAX: usize = u64::BITS as usize;

/// Takes an endpoint of a card for this process: the frames that the filters describe, or without any
/// the whole card. Returns its number, which the calls below take.
///
/// # Errors
/// [`Error::NotFound`] if there is no such card, [`Error::NotPermitted`] without the right to it,
/// [`Error::Busy`] if it, or a part of what is to be the whole, is taken, [`Error::FilterOverlaps`] with
/// the other's filter in the place of the first, [`Error::InvalidArgument`] for a filter that no frame
/// meets, [`Error::NotSupported`] for a station that the card cannot receive for, [`Error::TooLong`] for too many, [`Error::NoMemory`], [`Error::QuotaExceeded`].
pub fn nic_attach(card: u8, filters: &mut [Filter]) -> Result<u8> {
    with_filters(Syscall::NicAttach, card, filters).map(|number| number as u8)
}

/// Gives an endpoint that is a part of a card these filters instead of its own.
///
/// # Errors
/// As [`nic_attach`]; then it has those that it had. [`Error::NotSupported`] for a whole card.
pub fn nic_refilter(endpoint: u8, filters: &mut [Filter]) -> Result<()> {
    with_filters(Syscall::NicRefilter, endpoint, filters).map(|_| ())
}

fn with_filters(call: Syscall, number: u8, filters: &mut [Filter]) -> Result<u64> {
    let mut bytes = [[0; Filter::SIZE]; FILTERS_MAX];
    let written = bytes.get_mut(..filters.len()).ok_or(Error::TooLong)?;
    for (bytes, filter) in written.iter_mut().zip(&*filters) {
        *bytes = filter.to_bytes();
    }
    let written = written.as_flattened_mut();
    let result = call_filling(call, [number.into(), 0, 0, 0], 1, written);
    if result == Err(Error::FilterOverlaps) {
        filters[0] = Filter::from_bytes(&written[..Filter::SIZE])?;
    }
    result
}

/// Describes all cards, in the order of their numbers.
///
/// # Errors
/// [`Error::Malformed`] from another version's kernel.
pub fn nic_cards() -> Result<Vec<NicInfo>> {
    records(Syscall::Cards, [0; 4], 0, CARDS_MAX)
}

/// Describes an attached card.
///
/// # Errors
/// [`Error::BadHandle`] if it is not attached.
pub fn nic_info(endpoint: u8) -> Result<NicInfo> {
    let mut info = [0; NicInfo::SIZE];
    call_filling(Syscall::NicInfo, [endpoint.into(), 0, 0, 0], 1, &mut info)?;
    NicInfo::from_bytes(&info)
}

/// Queues one frame; with `more` the card is told later, by [`nic_flush`] or the next.
///
/// # Errors
/// [`Error::WouldBlock`] if the ring is full, [`Error::BadFrame`] for a frame that cannot
/// be sent, [`Error::BadHandle`], [`Error::DeviceFailed`].
pub fn nic_send(endpoint: u8, frame: &[u8], options: SendOptions, more: bool) -> Result<()> {
    let options = options.to_register(more);
    let arguments = [endpoint.into(), address(frame), frame.len() as u64, options];
    call4(Syscall::NicSend, arguments).map(|_| ())
}

/// Takes the next received frame into `buffer`; returns its length.
///
/// # Errors
/// [`Error::WouldBlock`] if there is none, [`Error::BadHandle`], [`Error::DeviceFailed`].
pub fn nic_receive(endpoint: u8, buffer: &mut [u8]) -> Result<ReceivedFrame> {
    call_filling(Syscall::NicReceive, [endpoint.into(), 0, 0, 0], 1, buffer)
        .map(ReceivedFrame::from_register)
}

/// Tells the card about all queued frames.
///
/// # Errors
/// [`Error::BadHandle`], [`Error::DeviceFailed`].
pub fn nic_flush(endpoint: u8) -> Result<()> {
    call4(Syscall::NicFlush, [endpoint.into(), 0, 0, 0]).map(|_| ())
}

/// Chooses which frames are received; `filters` is what [`abi::nic::Filters`] says.
///
/// # Errors
/// [`Error::NotSupported`], [`Error::TooLong`] if the card has no room for so many,
/// [`Error::InvalidArgument`] for a VLAN or group that is none, [`Error::BadHandle`].
pub fn nic_filter(endpoint: u8, filters: &[u8]) -> Result<()> {
    let arguments = [endpoint.into(), address(filters), filters.len() as u64, 0];
    call4(Syscall::NicFilter, arguments).map(|_| ())
}

/// Has an attached card's buffers shown to this process; returns also where the exchange area is,
/// and so, by [`abi::layout::nic_window`], the buffers.
///
/// # Errors
/// [`Error::BadHandle`], [`Error::NoMemory`].
pub fn nic_map(endpoint: u8) -> Result<(FrameMemory, u64)> {
    let mut memory = [0; FrameMemory::SIZE];
    let area = call_filling(Syscall::NicMap, [endpoint.into(), 0, 0, 0], 1, &mut memory)?;
    Ok((FrameMemory::from_bytes(&memory)?, area))
}

/// Exchanges frames and buffers with an attached card, as `area` says, which is the card's and
/// is written to; see [`abi::exchange`].
///
/// # Errors
/// [`Error::BadHandle`] for a buffer that is not the caller's, [`Error::BadFrame`] and the like
/// for a frame that was dropped, [`Error::DeviceFailed`].
pub fn nic_exchange(endpoint: u8, area: &mut [u32; exchange::WORDS]) -> Result<()> {
    let arguments = [endpoint.into(), area.as_mut_ptr() as u64, 0, 0];
    // SAFETY: the area is borrowed exclusively until the call returns, and the kernel writes
    // nowhere else but into buffers that are not this process's meanwhile.
    from_register(unsafe { enter(Syscall::NicExchange, arguments) }).map(|_| ())
}

/// The counters of an endpoint and of its card.
///
/// # Errors
/// [`Error::BadHandle`], [`Error::DeviceFailed`].
pub fn nic_statistics(endpoint: u8) -> Result<Vec<Counter>> {
    let arguments = [endpoint.into(), 0, 0, 0];
    records(Syscall::NicStatistics, arguments, 1, Counter::COUNT_MAX)
}
