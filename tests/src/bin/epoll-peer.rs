//! `epoll-peer echo` serves echo, `epoll-peer http DIRECTORY` also files, as
//! [`tests::peer`] says; `epoll-peer pattern index|big` prints the file of that name that the
//! benchmark expects to be served, and `epoll-peer tune INTERFACE` tunes the guest for latency.
//! On the machine of the benchmark itself, `epoll-peer local`
//! serves all of it on free ports, and `epoll-peer reflect` turns frames round that come
//! from the socket on its standard input.

use std::io::{Error, Write, stdin, stdout};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use tests::bench::files;
use tests::peer::{Ports, Server, Site, reflected, tune};

const PORTS: Ports = Ports { echo: 7, http: 80 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["echo"] => serve(None),
        ["http", directory] => Site::load(Path::new(directory)).and_then(|site| serve(Some(site))),
        ["tune", interface] => tune(interface).map(|words| println!("tuned: {words}")),
        ["local"] => local(),
        ["reflect"] => reflect(),
        ["pattern", name] => match files::named(name) {
            Some(file) => stdout().write_all(&file.contents()),
            None => Err(Error::other(format!("no file {name}"))),
        },
        _ => {
            eprintln!(
                "usage: epoll-peer echo | http DIRECTORY | pattern index|big | tune INTERFACE \
                 | local | reflect"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("epoll-peer: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(site: Option<Site>) -> Result<(), Error> {
    Server::bind(PORTS, site)?.run()
}

fn local() -> Result<(), Error> {
    let files = [files::INDEX, files::BIG];
    let site = Site::new(files.map(|file| (file.name.to_owned(), file.contents())));
    let mut server = Server::bind(Ports { echo: 0, http: 0 }, Some(site))?;
    if let [echo, http] = server.addresses()[..] {
        println!("serving on {} {}", echo.port(), http.port());
    }
    server.run()
}

fn reflect() -> Result<(), Error> {
    let socket = UdpSocket::from(stdin().as_fd().try_clone_to_owned()?);
    println!("serving on the socket");
    let mut frame = [0; 2048];
    loop {
        let len = socket.recv(&mut frame)?;
        if let Some(answer) = reflected(&mut frame[..len]) {
            socket.send(answer)?;
        }
    }
}
