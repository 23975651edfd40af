//! The echo server as clients of this machine see it, and Wharf as the client.

use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Failure, Outcome, ensure, pattern, read_all, same_bytes};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("udp echo, 1 to 8000 bytes", |bench| udp(&boot(bench)?)),
    Case::new("tcp echo, 1 MB both ways at once", |bench| {
        megabyte(bench, &boot(bench)?)
    }),
    Case::new("tcp echo, 64 clients at once", |bench| {
        many_clients(&boot(bench)?, 64)
    }),
    Case::new(
        "tcp echo to those who read late, others meanwhile",
        |bench| late(&boot(bench)?),
    ),
    Case::new("echotest, Wharf as the client", echotest),
];

fn boot(bench: &Bench) -> Outcome<Machine> {
    let machine = bench.boot(&Setup::new("run=echosrv"))?;
    machine.wait_servers(true, false)?;
    Ok(machine)
}

/// Sends datagrams of many lengths and expects them back.
///
/// # Errors
/// The first length that does not come back.
pub fn udp(machine: &Machine) -> Outcome {
    // More than 1472 bytes travel in fragments.
    for len in [1, 2, 63, 512, 1472, 1473, 4000, 8000] {
        udp_echo(machine, len).during(&format!("a datagram of {len} bytes"))?;
    }
    Ok(())
}

/// Sends one datagram of `len` bytes and expects it back. It is sent again when no
/// answer comes: UDP may lose it.
///
/// # Errors
/// If nothing or something else comes back.
pub fn udp_echo(machine: &Machine, len: usize) -> Outcome {
    udp_echo_at(machine.ports()?.echo_udp, len)
}

/// Sends one datagram to a port of this machine that leads to an echo server, and expects it back.
///
/// # Errors
/// The function fails if nothing or something else comes back.
pub fn udp_echo_at(port: u16, len: usize) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let sent = pattern(len as u64, len);
    let mut back = vec![0; len + 1];
    let end = Instant::now() + PATIENCE;
    loop {
        socket.send(&sent)?;
        match socket.recv(&mut back) {
            Ok(len) => return same_bytes(&back[..len], &sent),
            Err(_) if Instant::now() < end => {}
            Err(_) => {
                return Err(Failure(format!("no echo within {} s", PATIENCE.as_secs())));
            }
        }
    }
}

/// Sends 1 MB to the echo server and takes it back meanwhile; notes how fast that went.
///
/// # Errors
/// If other bytes come back.
pub fn megabyte(bench: &Bench, machine: &Machine) -> Outcome {
    let mut stream = machine.connect(machine.ports()?.echo_tcp)?;
    // The link may still be coming up, which is not to be measured.
    stream.write_all(b"!")?;
    read_all(&mut stream, &mut [0]).during("the first byte")?;
    let sent = pattern(1, 1 << 20);
    let mut back = Vec::new();
    let start = Instant::now();
    let mut sender = stream.try_clone()?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            sender.write_all(&sent).during("sending")?;
            // The server has to see the end, and still send the rest.
            sender.shutdown(Shutdown::Write).during("ending")
        });
        let received = stream.read_to_end(&mut back).during("receiving");
        sending
            .join()
            .unwrap_or_else(|_| Err("the sender died".into()))?;
        received.map(|_| ())
    })?;
    let seconds = start.elapsed().as_secs_f32();
    bench.note(format!("{:.1} MB/s each way", 1.0486 / seconds));
    same_bytes(&back, &sent)
}

/// Opens `count` connections to the echo server, and only then uses them, all at once.
///
/// # Errors
/// The first that does not get its own bytes back.
pub fn many_clients(machine: &Machine, count: usize) -> Outcome {
    let port = machine.ports()?.echo_tcp;
    let mut clients = (0..count)
        .map(|_| {
            let mut client = machine.connect(port)?;
            // QEMU's backlog is 1, and a connection that finds it full waits a second:
            // the next comes when QEMU has taken this one.
            client.write_all(b"!")?;
            // It may have chosen the ports of a client that vanished: Wharf challenges that SYN
            // (RFC 5961 §4.2), QEMU answers with a RST, and repeats the SYN after 6 s only.
            client.set_read_timeout(Some(LONG))?;
            read_all(&mut client, &mut [0]).during("the first byte")?;
            client.set_read_timeout(Some(PATIENCE))?;
            Ok(client)
        })
        .collect::<Outcome<Vec<TcpStream>>>()?;
    for round in 0..3 {
        let words = |client: usize| pattern((round * count + client) as u64, 700);
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&words(number))?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut back = [0; 700];
            read_all(client, &mut back)
                .and_then(|()| same_bytes(&back, &words(number)))
                .during(&format!("client {number}, round {round}"))?;
        }
    }
    Ok(())
}

/// Clients that send all they can before they read: their bytes wait at every place there
/// is, one after the other, and nobody else waits for them.
///
/// # Errors
/// If bytes are missing, or others wait.
pub fn late(machine: &Machine) -> Outcome {
    let port = machine.ports()?.echo_tcp;
    let sent = pattern(3, 64 << 20);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = machine.connect(port)?;
        client.set_write_timeout(Some(Duration::from_millis(300)))?;
        let mut count = 0;
        while count < sent.len() {
            match client.write(&sent[count..(count + 20_000).min(sent.len())]) {
                Ok(some) => count += some,
                Err(_) => break,
            }
        }
        ensure(count < sent.len(), || "all of 64 MiB was taken".to_owned())?;
        many_clients(machine, 8).during("beside one who reads late")?;
        clients.push((client, count));
    }
    for (mut client, count) in clients {
        client.shutdown(Shutdown::Write)?;
        let mut back = Vec::new();
        client.read_to_end(&mut back).during("reading late")?;
        same_bytes(&back, &sent[..count])?;
    }
    Ok(())
}

fn echotest(bench: &Bench) -> Outcome {
    // QEMU's 10.0.2.2 is this machine's loopback.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let machine = bench.boot(&Setup::new(&format!("run=echotest,10.0.2.2,{port}")))?;
    machine.console.wait_line("connected to server", PATIENCE)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    stream.read_to_end(&mut line).during("receiving")?;
    ensure(line == b"Hello world!\n", || {
        format!("it sent {:?}", line.escape_ascii().to_string())
    })?;
    stream.write_all(&line)?;
    drop(stream);
    machine
        .console
        .wait_line("echotest: the same", PATIENCE)
        .map(|_| ())
}
