//! The client against a guest that is a thread.

use super::*;
use std::net::Ipv4Addr;

/// On a machine that runs other tests, too, a thread may wait long for its turn.
const UNHURRIED: Duration = Duration::from_secs(10);

const GUEST_MAC: Mac = [2, 0, 0, 0, 0, 9];

/// A guest that answers ARP and echoes. Of the datagrams after the first 100, it treats the
/// n-th as `fate` says: answers it so many times.
fn guest(fate: impl Fn(usize) -> usize + Send + 'static) -> UdpSocket {
    let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut frame = [0; 2048];
        let mut count = 0;
        while let Ok(len) = theirs.recv(&mut frame) {
            let answer = match parse(&frame[..len]) {
                Some(Packet::Arp { sender, .. }) => {
                    let reply = arp(2, (GUEST_MAC, GUEST_IP), sender);
                    ethernet(sender.0, GUEST_MAC, ARP, &reply)
                }
                Some(Packet::Datagram {
                    ips: (from, to),
                    ports,
                    data,
                }) => {
                    let packet = datagram((to, from), (ports.1, ports.0), &data);
                    ethernet(OUR_MAC, GUEST_MAC, IPV4, &packet)
                }
                other => panic!("{other:?}"),
            };
            count += 1;
            let times = if count > 100 { fate(count - 100) } else { 1 };
            for _ in 0..times {
                if theirs.send(&answer).is_err() {
                    return; // the test has ended
                }
            }
        }
    });
    ours
}

#[test]
fn a_good_guest_loses_nothing() {
    let socket = guest(|_| 1);
    let mut echo = Echo::new(&socket, SMALL).unwrap();
    assert_eq!(echo.frames[7].len(), 60);
    echo.patience = UNHURRIED;
    let mut singly = echo.singly(Duration::from_millis(100)).unwrap();
    assert_eq!(singly.lost, 0);
    assert!(singly.times.count() > 10 && singly.times.percentile(0.5) > 0.0);
    let windowed = echo.windowed(32, Duration::from_millis(100)).unwrap();
    assert_eq!(windowed.lost, 0);
    assert!(windowed.answered > 50, "{windowed:?}");
    let flooded = echo.flooded(1000.0, Duration::from_secs(1)).unwrap();
    assert!(flooded.answered > 500.0, "{flooded:?}");
    assert!(flooded.answered <= flooded.offered, "{flooded:?}");
}

#[test]
fn lost_frames_are_counted_and_stall() {
    // Twice, so that the second comes after its number was given up.
    let socket = guest(|number| if number == 5 || number == 9 { 0 } else { 1 });
    let mut echo = Echo::new(&socket, 1400).unwrap();
    assert_eq!(echo.frames[7].len(), DATA + 1400);
    let singly = echo.singly(Duration::from_millis(700)).unwrap();
    // A busy machine may add a stall, but loses nothing.
    assert_eq!(singly.lost, 2);
    assert!(singly.stalls >= 2, "{singly:?}");

    let socket = guest(|number| usize::from(number % 100 != 0));
    let mut echo = Echo::new(&socket, SMALL).unwrap();
    let windowed = echo.windowed(32, Duration::from_millis(200)).unwrap();
    let share = per_million(windowed.lost, windowed.answered);
    assert!((5_000.0..20_000.0).contains(&share), "{windowed:?}");
}

#[test]
fn one_that_answers_twice_is_not_twice_as_fast() {
    let socket = guest(|_| 2);
    let mut echo = Echo::new(&socket, SMALL).unwrap();
    echo.patience = UNHURRIED;
    let singly = echo.singly(Duration::from_millis(50)).unwrap();
    assert_eq!(singly.lost, 0);
    let windowed = echo.windowed(32, Duration::from_millis(50)).unwrap();
    assert_eq!(windowed.lost, 0);
}

#[test]
fn wrong_data_and_silence_are_failures() {
    let socket = guest(|_| 1);
    let echo = Echo::new(&socket, SMALL).unwrap();
    let mut packet = datagram((GUEST_IP, OUR_IP), (7, 4000), &[0; 18]);
    packet.push(0);
    let wrong = ethernet(OUR_MAC, GUEST_MAC, IPV4, &packet);
    assert!(echo.number(&wrong).is_err());
    assert_eq!(echo.number(&wrong[..30]), Ok(None));
    assert_eq!(per_million(0, 0), 0.0);
    assert_eq!(per_million(1, 3), 250_000.0);
}
