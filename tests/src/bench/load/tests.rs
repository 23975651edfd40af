//! The load, put on servers of this machine.

use super::*;
use crate::bench::files::INDEX;
use crate::peer::{Ports, Server, Site};
use std::net::{Ipv4Addr, TcpListener};

fn plan(keep: bool, connections: u16) -> Plan {
    Plan {
        keep,
        connections,
        duration: Duration::from_millis(100),
    }
}

/// The peer of the benchmark, with these contents as its index, as long as the tests run.
fn peer(name: &str, contents: &[u8]) -> SocketAddrV4 {
    let id = std::process::id();
    let directory = std::env::temp_dir().join(format!("wharf-load-{name}-{id}"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(INDEX.name), contents).unwrap();
    let site = Site::load(&directory).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let mut server = Server::bind(Ports { echo: 0, http: 0 }, Some(site)).unwrap();
    let port = server.addresses()[1].port();
    std::thread::spawn(move || server.run());
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

#[test]
fn a_good_server_is_loaded_without_errors() {
    let address = peer("good", &INDEX.contents());
    for keep in [true, false] {
        for connections in [1, 16] {
            let loaded = run(address, INDEX, &plan(keep, connections)).unwrap();
            assert_eq!((loaded.errors, loaded.first_error), (0, None));
            assert!(loaded.times.count() > 20, "{keep} {connections}");
            assert!(loaded.answers as usize > loaded.times.count());
            assert!(loaded.seconds >= 0.1);
        }
    }
}

#[test]
fn wrong_answers_are_errors_and_nobody_is_a_failure() {
    let mut wrong = INDEX.contents();
    wrong[1000] ^= 1;
    let words = run(peer("wrong", &wrong), INDEX, &plan(true, 2))
        .unwrap_err()
        .0;
    assert!(words.contains("another body"), "{words}");
    wrong.pop();
    let words = run(peer("short", &wrong), INDEX, &plan(true, 2))
        .unwrap_err()
        .0;
    assert!(words.contains("Content-Length"), "{words}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let words = run(nobody, INDEX, &plan(true, 2)).unwrap_err().0;
    assert!(words.contains("connecting"), "{words}");
}

#[test]
fn a_server_that_stops_answering_is_noticed_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Two good answers, then silence on a connection that stays open.
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
        answer.extend(INDEX.contents());
        // To open the connection, and the first one that counts.
        for _ in 0..2 {
            assert!(std::io::Read::read(&mut stream, &mut request).unwrap() > 0);
            std::thread::sleep(WARM_UP);
            std::io::Write::write_all(&mut stream, &answer).unwrap();
        }
        while std::io::Read::read(&mut stream, &mut request).unwrap() > 0 {}
    });
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let duration = Duration::from_millis(1500);
    let loaded = run(
        address,
        INDEX,
        &Plan {
            duration,
            ..plan(true, 1)
        },
    )
    .unwrap();
    assert_eq!((loaded.answers, loaded.errors), (2, 1));
}

#[test]
fn connections_that_do_not_come_up_are_errors_and_the_others_are_measured() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Serves one connection; the second is accepted by the system, but never read.
        let (mut stream, _) = listener.accept().unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
        answer.extend(INDEX.contents());
        let mut request = [0; 4096];
        while std::io::Read::read(&mut stream, &mut request).unwrap_or(0) > 0 {
            std::io::Write::write_all(&mut stream, &answer).unwrap();
        }
        drop(listener);
    });
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let loaded = run(address, INDEX, &plan(true, 2)).unwrap();
    assert_eq!(loaded.errors, 1);
    assert!(loaded.times.count() > 20);
}
