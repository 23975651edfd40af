//! What becomes of a received frame.

use super::emit::acknowledge;
use super::engine::Engine;
use super::link::OneFrame;
use super::memory::Memory;
use super::neighbors::Neighbors;
use super::peek::{Frame, Segment};
use super::tcp::{Course, Tcp};
use super::time_wait::LastWord;
use super::udp::Udp;
use crate::config::Config;
use smoltcp::phy::TxToken;

/// The parts of the stack that frames are for.
pub(super) struct Receiver<'a> {
    pub config: &'a Config,
    pub engine: &'a mut Engine,
    pub tcp: &'a mut Tcp,
    pub udp: &'a mut Udp,
    pub neighbors: &'a mut Neighbors,
    pub memory: &'a mut Memory,
    pub refused: &'a mut u64,
    pub damaged: &'a mut u64,
    pub now: u64,
}

impl Receiver<'_> {
    /// Processes a frame, which was looked at; there is room for the reply.
    pub fn process<T: TxToken>(&mut self, seen: Frame, frame: &[u8], reply: T) {
        let mut one = OneFrame {
            frame: Some(frame),
            reply: Some(reply),
        };
        let now = self.now;
        match seen {
            // A whole datagram is no fragment of another.
            Frame::Refused | Frame::Fragment => *self.refused += 1,
            Frame::Damaged => *self.damaged += 1,
            Frame::Arp(address, mac) => {
                self.engine.ingress(&mut one, None, now);
                self.neighbors.heard(address, mac, now);
                self.tcp.heard(address);
            }
            Frame::Segment(segment) => {
                let neighbor = *segment.tuple.peer.ip();
                self.neighbors.lives(neighbor, segment.mac, now);
                let last_word = self.segment(&segment, &mut one);
                if let (Some(last_word), Some(reply)) = (last_word, one.reply) {
                    acknowledge(reply, self.config, &segment, last_word);
                }
            }
            Frame::Ip(ip) => {
                if let Some((address, mac)) = ip.from {
                    self.neighbors.lives(address, mac, now);
                }
                let datagram = ip.datagram.as_ref();
                if !datagram.is_some_and(|datagram| self.udp.deliver(datagram, frame)) {
                    self.engine.ingress(&mut one, None, now);
                }
            }
            Frame::Other => self.engine.ingress(&mut one, None, now),
        }
    }

    /// Processes a segment. Returns the acknowledgement to answer with, if there is no
    /// socket to do it.
    fn segment<T: TxToken>(
        &mut self,
        segment: &Segment,
        one: &mut OneFrame<'_, T>,
    ) -> Option<LastWord> {
        let now = self.now;
        match self.tcp.before(segment, now, self.memory) {
            Course::Drop => None,
            Course::Repeat(last_word) => Some(last_word),
            Course::Connection(id) => {
                self.engine.ingress(one, self.tcp.set(id), now);
                self.tcp.after(id, segment, now, self.memory)
            }
            Course::Nobody => {
                self.engine.ingress(one, None, now);
                None
            }
        }
    }
}
