//! What is counted: operations as a client plays them.
//!
//! A workload leaves nothing behind that the guest would repeat or end later, and says
//! whether it had to repeat something itself.

use super::{BEAT_US, Cost, LONG_BEAT_US, Scene};
use crate::connection::{Connection, SEGMENT_MAX};
use crate::frames::Packet;
use crate::machine::{Image, PATIENCE, Setup};
use crate::nic::{FUNCTIONS, Nic};
use crate::suite::Bench;
use crate::wire::Wire;
use crate::{During, Outcome, ensure, pattern, same_bytes};
use std::time::Instant;

const PAGE: &str = "page.bin";
const PAGE_LEN: usize = 1024;
const BIG: &str = "big.bin";
const BIG_LEN: usize = 1 << 20;

/// An image that serves what the workloads ask for.
///
/// # Errors
/// If it cannot be made.
pub fn image(bench: &Bench) -> Outcome<Image> {
    let page = pattern(PAGE_LEN as u64, PAGE_LEN);
    let big = pattern(BIG_LEN as u64, BIG_LEN);
    bench.image_serving(&[(PAGE, &page), (BIG, &big)])
}

/// Something to count.
pub struct Workload {
    /// Its name in the table and the baseline.
    pub name: &'static str,
    /// Counts it.
    pub count: fn(&mut Scene) -> Outcome<Cost>,
}

/// The machines that are counted in with a card, and what in each.
pub fn scenes(nic: &Nic, image: &Image) -> Vec<(Setup, &'static [Workload])> {
    let has_functions = FUNCTIONS.iter().any(|other| other.physical() == nic.name);
    let on_functions = if has_functions { &ON_FUNCTION[..] } else { &[] };
    let setup = |&(append, workloads): &(&str, &'static [Workload])| {
        let mut setup = Setup::on_wire(append).from_image(image.clone());
        setup.icount = true;
        setup.behind_port = append.starts_with("nic.vfs=");
        (setup, workloads)
    };
    SCENES.iter().chain(on_functions).map(setup).collect()
}

/// Of all cards, by the kernel command line.
const SCENES: [(&str, &[Workload]); 6] = [
    ("", APART),
    ("inside=echosrv", ECHO_INSIDE),
    ("inside=httpd", WEB_INSIDE),
    (SHARED, &[SHARED_ECHO, SHARED_DOWNLOAD]),
    (SHARED_BY_16, &[SHARED_ECHO_BY_16]),
    (SHARED_BY_64, &[SHARED_ECHO_BY_64]),
];

/// Of cards that have virtual functions.
const ON_FUNCTION: [(&str, &[Workload]); 2] = [
    (
        "nic.vfs=1 stack=a,vf=0,ip=10.0.2.15/24,inside=echosrv,run=httpd",
        ECHO_ON_FUNCTION,
    ),
    (
        "nic.vfs=1 stack=a,vf=0,ip=10.0.2.15/24,inside=httpd,run=echosrv",
        WEB_ON_FUNCTION,
    ),
];

/// Counts that must not be more than so many times others.
pub const RATIOS: [(&str, &str, f64); 9] = [
    // A virtual function with a stack of its own is as good as the card.
    ("udp-echo-vf", "udp-echo-inside", 1.05),
    ("tcp-echo-vf", "tcp-echo-inside", 1.05),
    ("http-kept-alive-vf", "http-kept-alive-inside", 1.05),
    ("http-connection-vf", "http-connection-inside", 1.05),
    ("download-mib-vf", "download-mib-inside", 1.1),
    // A frame of a part of a card is copied, each way.
    ("udp-echo-shared", "udp-echo", 1.35),
    ("download-mib-shared", "download-mib", 1.35),
    // What others have declared costs a frame next to nothing.
    ("udp-echo-shared-16", "udp-echo-shared", 1.1),
    ("udp-echo-shared-64", "udp-echo-shared", 1.1),
];

/// On a part of the card; the last number is that of all filters.
const SHARED: &str = "stack=a,ip=10.0.2.15/24,run=echosrv,run=httpd";
const SHARED_BY_16: &str = "stack=a,ip=10.0.2.15/24,run=echosrv,run=httpd \
    limits=memory:6M,handles:16 run=testfilter,share=15";
const SHARED_BY_64: &str = "stack=a,ip=10.0.2.15/24,run=echosrv,run=httpd \
    limits=memory:6M,handles:16 run=testfilter,share=63";
const SHARED_ECHO: Workload = Workload {
    name: "udp-echo-shared",
    count: udp_echo,
};
const SHARED_DOWNLOAD: Workload = Workload {
    name: "download-mib-shared",
    count: download,
};
const SHARED_ECHO_BY_16: Workload = Workload {
    name: "udp-echo-shared-16",
    count: shared_echo,
};
const SHARED_ECHO_BY_64: Workload = Workload {
    name: "udp-echo-shared-64",
    count: shared_echo,
};

/// With the services as programs of their own.
const APART: &[Workload] = &[
    Workload {
        name: "udp-echo",
        count: udp_echo,
    },
    Workload {
        name: "udp-echo-by-16",
        count: udp_echo_by_16,
    },
    Workload {
        name: "tcp-echo",
        count: tcp_echo,
    },
    Workload {
        name: "tcp-echo-16k",
        count: tcp_echo_16k,
    },
    Workload {
        name: "http-kept-alive",
        count: http_kept_alive,
    },
    Workload {
        name: "http-connection",
        count: http_connection,
    },
    Workload {
        name: "download-mib",
        count: download,
    },
];

/// With the echo server inside the network server.
const ECHO_INSIDE: &[Workload] = &[
    Workload {
        name: "udp-echo-inside",
        count: udp_echo,
    },
    Workload {
        name: "tcp-echo-inside",
        count: tcp_echo,
    },
    Workload {
        name: "tcp-echo-16k-inside",
        count: tcp_echo_16k,
    },
];

/// With the web server there.
const WEB_INSIDE: &[Workload] = &[
    Workload {
        name: "http-kept-alive-inside",
        count: http_kept_alive,
    },
    Workload {
        name: "http-connection-inside",
        count: http_connection,
    },
    Workload {
        name: "download-mib-inside",
        count: download,
    },
];

/// With the echo server inside the network server of a virtual function.
const ECHO_ON_FUNCTION: &[Workload] = &[
    Workload {
        name: "udp-echo-vf",
        count: udp_echo,
    },
    Workload {
        name: "tcp-echo-vf",
        count: tcp_echo,
    },
];

/// With the web server there.
const WEB_ON_FUNCTION: &[Workload] = &[
    Workload {
        name: "http-kept-alive-vf",
        count: http_kept_alive,
    },
    Workload {
        name: "http-connection-vf",
        count: http_connection,
    },
    Workload {
        name: "download-mib-vf",
        count: download,
    },
];

/// One datagram at a time, to and fro.
fn udp_echo(scene: &mut Scene) -> Outcome<Cost> {
    let ports = scene.ports(7);
    let words = pattern(1, 64);
    scene.cost((50, 200), |wire, _| {
        wire.send_datagram(ports, &words)?;
        echoed(wire, ports, &words)
    })
}

/// The same, once all filters are there.
fn shared_echo(scene: &mut Scene) -> Outcome<Cost> {
    let console = &scene.machine.console;
    console.wait_text(" filters in ", PATIENCE)?;
    udp_echo(scene)
}

/// Sixteen at a time, which the guest finds together.
fn udp_echo_by_16(scene: &mut Scene) -> Outcome<Cost> {
    const WINDOW: u64 = 16;
    let ports = scene.ports(7);
    let cost = scene.cost((4, 20), |wire, _| {
        for number in 0..WINDOW {
            wire.send_datagram(ports, &pattern(number, 64))?;
        }
        for number in 0..WINDOW {
            echoed(wire, ports, &pattern(number, 64))?;
        }
        Ok(())
    })?;
    Ok(Cost {
        operations: cost.operations * WINDOW,
        ..cost
    })
}

/// Waits for a datagram to come back.
fn echoed(wire: &Wire, (ours, theirs): (u16, u16), words: &[u8]) -> Outcome {
    let back = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
        Packet::Datagram { ports, data, .. } if ports == (theirs, ours) => Some(data),
        _ => None,
    })?;
    same_bytes(&back.ok_or("no echo of a datagram")?, words)
}

/// One segment at a time, to and fro; each acknowledges the one before.
fn tcp_echo(scene: &mut Scene) -> Outcome<Cost> {
    let ports = scene.ports(7);
    let mut connection = Connection::open(scene.machine.wire()?, ports)?;
    let words = pattern(1, 64);
    let cost = scene.cost((50, 200), |wire, last| {
        connection.echo(wire, &words)?;
        leave(&mut connection, wire, last)
    })?;
    let disturbed = connection.repeats > 0;
    connection.close(scene.machine.wire()?)?;
    Ok(Cost { disturbed, ..cost })
}

/// As many full segments at a time as fit the server's first window, to and fro.
fn tcp_echo_16k(scene: &mut Scene) -> Outcome<Cost> {
    const LEN: usize = 11 * SEGMENT_MAX;
    scene.beat(LONG_BEAT_US)?;
    let ports = scene.ports(7);
    let mut connection = Connection::open(scene.machine.wire()?, ports)?;
    let words = pattern(2, LEN);
    let cost = scene.cost((5, 20), |wire, last| {
        connection.echo(wire, &words)?;
        leave(&mut connection, wire, last)
    })?;
    let disturbed = connection.repeats > 0;
    connection.close(scene.machine.wire()?)?;
    scene.beat(BEAT_US)?;
    Ok(Cost { disturbed, ..cost })
}

fn http_kept_alive(scene: &mut Scene) -> Outcome<Cost> {
    let ports = scene.ports(80);
    let mut connection = Connection::open(scene.machine.wire()?, ports)?;
    let cost = scene.cost((50, 200), |wire, last| {
        get(&mut connection, wire, PAGE, PAGE_LEN, "")?;
        leave(&mut connection, wire, last)
    })?;
    let disturbed = connection.repeats > 0;
    connection.close(scene.machine.wire()?)?;
    Ok(Cost { disturbed, ..cost })
}

/// A connection for each request, which the server ends.
fn http_connection(scene: &mut Scene) -> Outcome<Cost> {
    let mut port = scene.port;
    let mut disturbed = false;
    let cost = scene.cost((20, 100), |wire, _| {
        port += 1;
        let mut connection = Connection::begin(wire, (port, 80))?;
        get(
            &mut connection,
            wire,
            PAGE,
            PAGE_LEN,
            "Connection: close\r\n",
        )?;
        connection.wait_end(wire)?;
        disturbed |= connection.repeats > 0;
        connection.close(wire)
    })?;
    scene.port = port;
    Ok(Cost { disturbed, ..cost })
}

/// A megabyte; what is acknowledged reaches the guest in batches.
fn download(scene: &mut Scene) -> Outcome<Cost> {
    let ports = scene.ports(80);
    scene.beat(LONG_BEAT_US)?;
    let mut connection = Connection::open(scene.machine.wire()?, ports)?;
    let cost = scene.cost((1, 2), |wire, last| {
        get(&mut connection, wire, BIG, BIG_LEN, "")?;
        leave(&mut connection, wire, last)
    })?;
    let disturbed = connection.repeats > 0;
    connection.close(scene.machine.wire()?)?;
    scene.beat(BEAT_US)?;
    Ok(Cost { disturbed, ..cost })
}

/// Asks for a file and takes the answer.
fn get(connection: &mut Connection, wire: &Wire, name: &str, len: usize, headers: &str) -> Outcome {
    let request = format!("GET /{name} HTTP/1.1\r\nHost: wharf\r\n{headers}\r\n");
    connection.send(wire, request.as_bytes())?;
    let head = connection.receive_through(wire, b"\r\n\r\n")?;
    ensure(head.starts_with(b"HTTP/1.1 200 "), || {
        format!("{name}: {:?}", head.escape_ascii().to_string())
    })?;
    let body = connection.receive(wire, len)?;
    same_bytes(&body, &pattern(len as u64, len)).during(name)
}

/// Acknowledges what the last operation has brought.
fn leave(connection: &mut Connection, wire: &Wire, last: bool) -> Outcome {
    match last {
        true => connection.acknowledge(wire),
        false => Ok(()),
    }
}
