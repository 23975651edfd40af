//! The network server of one card: `netd` or
//! `netd,CARD[,ip=A.B.C.D/BITS][,gw=A.B.C.D][,vlan=NUMBER][,with=echosrv|httpd]`.
//!
//! With `with=` it is that service as well: the stack and its user in one address space.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use user::network::Network;
use user::socket::{Server, own};
use user::start::Context;
use user::{args, echo, http};

user::entry!(main);

fn main() -> Result<(), String> {
    let card = args::parsed(0, "card number", 0)?;
    let words: String = args::all().flat_map(|word| [word, " "]).collect();
    let service = args::all().find_map(|word| word.strip_prefix("with="));
    if let Some(unknown) = service.filter(|name| !["echosrv", "httpd"].contains(name)) {
        return Err(format!("with= knows echosrv and httpd, not `{unknown}`"));
    }
    let mut network = Network::start(card, &words)?;
    let find = move || Server::of_card(card);
    match service {
        None => network.serve().context("the card failed"),
        Some(name) => {
            own::install(card, network);
            match name {
                "echosrv" => echo::program::run(find),
                _ => http::program::run(find),
            }
        }
    }
}
