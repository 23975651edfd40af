//! What a tenant sends and takes, with its card.

use super::Tenant;
use crate::account::{Accounts, Counter as Clock};
use crate::endpoint::filters::Way;
use crate::endpoint::memory::Shared;
use crate::endpoint::passing::Passing;
use crate::endpoint::switch::{Switch, each};
use crate::endpoint::{Others, exchange};
use crate::runs::Runs;
use abi::nic::{FrameMemory, SendOptions};
use nic::{Error, FrameArea, FrameBuffers, Nic, Outgoing, Piece, ReceiveInfo};

/// Frames that are copied and sent together.
const AT_ONCE: usize = 16;

/// A tenant at work: what it exchanges passes between its buffers and the card's.
pub struct AtWork<'a, M> {
    /// The tenant, where its endpoint is among all, and the others.
    pub tenant: &'a mut Tenant<M>,
    pub place: u8,
    pub others: Others<'a, M>,
    /// The card, and its arena.
    pub nic: &'a mut dyn Nic,
    pub memory: &'a mut M,
    /// What the card's tenants share.
    pub switch: &'a mut Switch,
}

impl<M: Shared> AtWork<'_, M> {
    /// Does what the exchange area asks for, by [`exchange::hand_over`]. This function is apart, so that
    /// what the owner of a whole card needs is on few pages.
    ///
    /// # Errors
    /// Those of [`exchange::hand_over`].
    #[inline(never)]
    pub fn exchange<C: Clock>(
        mut self,
        area: &mut M,
        may_arm: bool,
        ramdisk: &Runs,
        accounts: &mut Accounts<C>,
    ) -> abi::Result<usize> {
        exchange::hand_over(area, &mut self, may_arm, ramdisk, accounts)
    }

    /// Sends frames out of buffers of the card's, all of the same kind, into which `copy` puts each.
    /// Returns how many, and why not the next.
    fn send_copies(
        &mut self,
        frames: &[Outgoing],
        copy: impl Fn(&Tenant<M>, &Outgoing, &mut M, usize),
    ) -> (usize, Result<(), Error>) {
        let mut numbers = [0; AT_ONCE];
        let numbers = &mut numbers[..frames.len()];
        let len = frames.first().map_or(0, |frame| frame.len);
        let taken = match self.nic.take_buffers(len, numbers) {
            Ok(taken) => taken,
            Err(error) => return (0, Err(error)),
        };
        let mut result = match taken == frames.len() {
            true => Ok(()),
            false => Err(Error::WouldBlock),
        };
        let mut sent = 0;
        let mut queued = heapless::Vec::new();
        let mut looked_at = 0;
        for (frame, &buffer) in frames.iter().zip(&numbers[..taken]) {
            let (at, _) = self.switch.area.buffer(buffer).unwrap_or_default();
            copy(self.tenant, frame, self.memory, at);
            looked_at += 1;
            let frame = Outgoing { buffer, ..*frame };
            let passed = match self.way(at, &frame) {
                Ok(Way {
                    leaves: true,
                    receivers: 0,
                }) => {
                    // There is room for all.
                    let _ = queued.push(frame);
                    continue;
                }
                Ok(way) => {
                    let (count, flushed) = self.queue(&mut queued);
                    sent += count;
                    flushed.and_then(|()| self.pass(at, &frame, way))
                }
                Err(error) => Err(error),
            };
            if !matches!(passed, Ok(true)) {
                self.give_back(&[buffer]);
            }
            match passed {
                Ok(_) => sent += 1,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let (count, flushed) = self.queue(&mut queued);
        self.give_back(&numbers[looked_at..taken]);
        (sent + count, flushed.and(result))
    }

    /// Has the card send frames, which are taken out. Returns how many, and why not the next.
    fn queue(
        &mut self,
        frames: &mut heapless::Vec<Outgoing, AT_ONCE>,
    ) -> (usize, Result<(), Error>) {
        if frames.is_empty() {
            return (0, Ok(()));
        }
        let (sent, result) = self.nic.send_buffers(frames);
        for frame in &frames[sent..] {
            self.give_back(&[frame.buffer]);
        }
        frames.clear();
        (sent, result)
    }

    /// Gives buffers back to the card that are the kernel's: nobody else has numbers of this card.
    fn give_back(&mut self, buffers: &[u16]) {
        for &buffer in buffers {
            let _ = self.nic.put_back(buffer);
        }
    }

    /// Where a frame goes that the tenant wants to send, and that is in the card's buffer.
    ///
    /// # Errors
    /// Why the tenant may not: [`Error::Unsupported`], [`Error::BadHeaders`], [`Error::BadSource`].
    fn way(&mut self, at: usize, frame: &Outgoing) -> Result<Way, Error> {
        if frame.options.vlan.is_some() {
            return Err(Error::Unsupported);
        }
        let sender = (self.place, &self.tenant.filters[..]);
        let filters = &mut self.switch.filters;
        filters.way_of(sender, self.memory, at, frame.len)
    }

    /// Passes a frame on to other tenants and, if it `leaves`, to the card too: says whether its buffer is
    /// the card's again.
    ///
    /// # Errors
    /// Those of [`Passing::new`]; why the card did not send it.
    #[cold]
    fn pass(
        &mut self,
        at: usize,
        frame: &Outgoing,
        Way { leaves, receivers }: Way,
    ) -> Result<bool, Error> {
        let passing = Passing::new(self.memory, at, frame, self.nic.facts());
        if leaves {
            // What the tenants cannot be given goes to the wire alone.
            self.nic.send_buffers(&[*frame]).1?;
        } else {
            let counters = &mut self.switch.counters;
            counters.unmatched += u64::from(receivers == 0);
        }
        match passing {
            Ok(passing) => {
                self.switch.counters.passed += u64::from(receivers != 0);
                self.switch.owed |= receivers;
                for place in each(receivers) {
                    if let Some(tenant) = self.others.tenant(place) {
                        passing.deliver(self.memory, at, tenant);
                    }
                }
                Ok(leaves)
            }
            Err(error) => leaves.then_some(true).ok_or(error),
        }
    }

    /// Counts frames that were sent, and why the next was not.
    fn note(&mut self, sent: &[Outgoing], result: &Result<(), Error>) {
        let octets = sent
            .iter()
            .map(|frame| frame.len + frame.tail.map_or(0, |tail| tail.len));
        let counters = &mut self.tenant.counters;
        counters.tx_octets += octets.sum::<usize>() as u64;
        counters.tx_frames += sent.len() as u64;
        match result {
            Ok(()) => {}
            Err(Error::WouldBlock) => self.tenant.wants_room = true,
            Err(error) => counters.refused.note(error),
        }
    }

    /// Sends a frame that is in none of the tenant's buffers, and counts it.
    ///
    /// # Errors
    /// Those of [`FrameBuffers::send_buffer`], and [`Error::BadSource`].
    pub fn send_alone(&mut self, bytes: &[u8], options: SendOptions) -> Result<(), Error> {
        let frames = [Outgoing {
            len: bytes.len(),
            options,
            ..Outgoing::default()
        }];
        let (sent, result) = self.send_copies(&frames, |_, _, memory, at| memory.put(at, bytes));
        self.note(&frames[..sent], &result);
        result
    }

    /// Copies the next frame that was received to the front of `into`: its length, and what the card
    /// found out.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and a notification follows; [`Error::BufferTooSmall`], and it is lost.
    pub fn receive_alone(&mut self, into: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        let piece = self.receive_piece(true)?;
        let len = piece.len;
        let result = match into.get_mut(..len) {
            Some(frame) => {
                let start = self.tenant.area.receive.start;
                self.tenant.memory.get(start + piece.offset, frame);
                Ok((len, piece.info))
            }
            None => {
                self.tenant.counters.rx_dropped += 1;
                Err(Error::BufferTooSmall { len })
            }
        };
        self.return_buffer(piece.buffer)?;
        result
    }
}

impl<M: Shared> FrameBuffers for AtWork<'_, M> {
    fn frame_area(&self) -> FrameArea {
        self.tenant.area.clone()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        let FrameMemory { small, large, .. } = self.tenant.area.memory;
        let pool = match len {
            0 => return Err(Error::BadLength { len }),
            _ if len <= small.1 as usize => &mut self.tenant.small,
            _ if len <= large.1 as usize => &mut self.tenant.large,
            _ => return Err(Error::BadLength { len }),
        };
        let taken = pool.take_all(into);
        self.tenant.wants_buffers |= taken < into.len();
        Ok(taken)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.tenant.pool(buffer).put_back(buffer)?;
        self.tenant.have_come_free();
        Ok(())
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.put_back(buffer)?;
        self.tenant.counters.tx_dropped += 1;
        Ok(())
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        let small = self.switch.area.memory.small.1 as usize;
        let mut all = 0;
        let mut result = Ok(());
        while all < frames.len() && result.is_ok() {
            let is_small = frames[all].len <= small;
            let mut count = 0;
            for frame in &frames[all..] {
                if count == AT_ONCE || (frame.len <= small) != is_small {
                    break;
                }
                result = self.tenant.check(frame);
                if result.is_err() {
                    break;
                }
                // It can be named once.
                self.tenant.pool(frame.buffer).enter_ring(frame.buffer);
                count += 1;
            }
            let some = &frames[all..all + count];
            let (sent, why) = match count {
                0 => (0, Ok(())),
                _ => self.send_copies(some, |tenant, frame, memory, at| {
                    let (from, _) = tenant.area.buffer(frame.buffer).unwrap_or_default();
                    memory.copy(at, &tenant.memory, from, frame.len);
                }),
            };
            result = why.and(result);
            for frame in &some[..sent] {
                self.tenant.pool(frame.buffer).leave_ring(frame.buffer);
            }
            for frame in &some[sent..] {
                self.tenant.pool(frame.buffer).hand_out(frame.buffer);
            }
            self.note(&some[..sent], &result);
            all += sent;
        }
        if all > 0 {
            self.tenant.have_come_free();
        }
        (all, result)
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let mut count = 0;
        while count < max
            && let Some(piece) = self.tenant.queue.pop_front()
        {
            self.tenant.receive.hand_out(piece.buffer);
            take(&piece);
            count += 1;
        }
        self.tenant.armed = arm && count < max;
        Ok(count)
    }

    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error> {
        buffers
            .iter()
            .try_for_each(|buffer| self.tenant.receive.put_back(*buffer))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.nic.flush()
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = self.tenant.area.buffer(buffer) {
            let len = bytes.len().min(room);
            self.tenant.memory.put(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = self.tenant.area.receive.start + offset;
        self.tenant.memory.get(start, into);
    }
}
