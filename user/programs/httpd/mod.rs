//! A web server: HTTP/1.1 (RFC 9110, RFC 9112) over events and operations of sockets,
//! without I/O of its own, so that all of it runs under `cargo test`.
//!
//! ```text
//!   bytes -> request (head, by httparse) -> answer -> response (head; body as a slice)
//!              |                              |
//!              target, framing, conditions,   site (the files below www/)
//!              ranges
//! ```
//!
//! [`connection::Connection`] is one client: it hears a head, discards content, answers,
//! hears the next. [`server::Server`] is all of them and what they share. The
//! program `httpd` adds sockets and a clock.
//!
//! Bounds: each of the at most [`server::CLIENTS_MAX`] connections holds at most
//! [`request::HEAD_MAX`] bytes of input, as many of a head whose content is to come, and
//! [`connection::OUTPUT_MAX`] plus one head of output; file contents are slices of the
//! ramdisk, never copies (but for small ones that join their head). Every state has a
//! deadline ([`connection::limits`]).
//!
//! There is no wall clock, so no `Date` field is sent (RFC 9110 §6.6.1).

pub mod answer;
pub mod authority;
pub mod conditions;
pub mod connection;
pub mod content;
pub mod date;
pub mod framing;
pub mod media;
pub mod method;
pub mod program;
pub mod range;
pub mod request;
pub mod response;
pub mod server;
pub mod site;
pub mod status;
pub mod syntax;
pub mod target;
