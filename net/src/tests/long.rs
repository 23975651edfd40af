//! Long segments and how many frames become of them, by the whole server.

use super::world::*;
use crate::Config;
use crate::tests::batch::{Ops, PROGRAM};
use abi::batch::Event;
use abi::socket::Handle;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::vec::Vec;

fn connected(world: &mut World) -> (Handle, SocketHandle) {
    let listener = world.listener(PROGRAM, 80, 4);
    let peer = world.peer.connect(41000, 80);
    (world.accept(PROGRAM, listener), peer)
}

#[test]
fn each_frame_is_sent_once_and_the_end_arrives_however_little_room_there_is() {
    for room in [1, 3, 20, 64] {
        let mut world = World::as_configured(Config::new(SERVER_MAC, 30));
        world.server.device_mut().room = room;
        let (socket, peer) = connected(&mut world);
        let file = Chance(room as u64).octets(300_000);
        let (looks, frames) = (world.figure("socket_looks"), world.frames_sent);
        let token = world.begin_send(PROGRAM, socket, &file);
        let mut got = Vec::new();
        world.until(60 * SECOND, "the file and its end", |world| {
            if world.is_sent(token).is_some() {
                world.close(PROGRAM, socket).unwrap();
            }
            let socket = world.peer.tcp(peer);
            while socket.can_recv() {
                let take = |octets: &mut [u8]| (octets.len(), got.extend_from_slice(octets));
                socket.recv(take).unwrap();
            }
            socket.state() == State::CloseWait
        });
        assert!(got == file);
        // The peer's window and our ring cut some short.
        let frames = world.frames_sent - frames;
        let least = file.len().div_ceil(1460) as u64;
        let most = least + least / 8 + 3;
        assert!((least..most).contains(&frames), "{frames} frames");
        if room == 64 {
            let looks = world.figure("socket_looks") - looks;
            assert!(looks < frames, "{looks} looks for {frames} frames");
        }
    }
}

#[test]
fn acknowledgements_travel_with_the_answer_or_leave_soon_without_it() {
    let mut world = World::new(31);
    let (socket, peer) = connected(&mut world);
    world.peer.tcp(peer).set_nagle_enabled(false);
    world.pass(SECOND);
    for answers in [true, false, true] {
        let token = world.batch(PROGRAM, &Ops::new().receive(socket));
        let before = world.frames_sent;
        // Two frames, which call for an acknowledgement at once.
        world.peer.tcp(peer).send_slice(&[5; 2000]).unwrap();
        let told = world.events_of(token);
        assert_eq!(told[0].0, Event::Received { socket, len: 2000 });
        if answers {
            let answer = Ops::new().send(socket, b"yes", |_| {});
            world.batch(PROGRAM, &answer);
        }
        world.pass(2 * MS);
        assert_eq!(world.frames_sent - before, 1, "answers: {answers}");
        assert_eq!(world.peer.tcp(peer).send_queue(), 0);
    }
}
