//! `epoll-peer echo` serves echo, `epoll-peer http DIRECTORY` also files, as
//! [`tests::peer`] says; `epoll-peer pattern index|big LEN` prints the file of that name
//! that the benchmark expects to be served.

use std::io::{Error, Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use tests::bench::files;
use tests::peer::{Ports, Server, Site};

const PORTS: Ports = Ports { echo: 7, http: 80 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["echo"] => serve(None),
        ["http", directory] => Site::load(Path::new(directory)).and_then(|site| serve(Some(site))),
        ["pattern", name] => match files::named(name) {
            Some(file) => stdout().write_all(&file.contents()),
            None => Err(Error::other(format!("no file {name}"))),
        },
        _ => {
            eprintln!("usage: epoll-peer echo | http DIRECTORY | pattern index|big");
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
