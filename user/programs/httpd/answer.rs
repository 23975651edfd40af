//! From a request to its response: which file, under which conditions, which part of it.

use super::conditions::{self, Validators, Verdict};
use super::method::Method;
use super::range::{self, Wanted};
use super::request::Request;
use super::response::{Head, Persistence, Status};
use super::site::{Found, Page, Site};
use super::status::{self, Counters};
use super::target::{self, Target};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

/// Bodies up to this length are copied behind their head, so that answers to pipelined
/// requests leave together; longer ones are lent.
const INLINE_MAX: usize = 1024;

/// The methods that every resource allows (RFC 9110 §10.2.1).
const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";
/// What `/status.json` says to caches.
const NO_STORE: &str = "Cache-Control: no-store\r\n";

/// A response being written.
pub struct Answer<'s> {
    /// What it is appended to.
    pub out: &'s mut Vec<u8>,
    /// What is counted.
    pub counters: &'s mut Counters,
    /// What it says of the connection.
    pub persistence: Persistence,
    /// The method is not HEAD.
    pub with_body: bool,
}

impl Answer<'_> {
    /// Writes the answer to a request; returns what is left to send behind it.
    pub fn to<'a>(
        &mut self,
        request: &Request<'_, '_>,
        site: &Site<'a>,
        (open, now, network): (usize, u64, &dyn Fn() -> String),
    ) -> &'a [u8] {
        match request.method {
            Method::Get | Method::Head => {}
            // All here allow the same.
            Method::Options => return self.text(Status::OK, ALLOW, ""),
            Method::Connect | Method::NotAllowed => {
                return self.error(Status::METHOD_NOT_ALLOWED, ALLOW);
            }
            Method::Unknown => return self.error(Status::NOT_IMPLEMENTED, ""),
        }
        let Target {
            path: Some(path),
            query,
            is_uri,
        } = &request.target
        else {
            return self.not_found(site);
        };
        if !is_uri {
            return self.moved(&target::encode(path, query));
        }
        if *path == "status.json" {
            // It is never the same twice, so there is nothing to compare with.
            let ours = Validators {
                etag: None,
                modified: None,
            };
            if self.condition_fails(request, ours, NO_STORE) {
                return &[];
            }
            let text = status::json(self.counters, open, now, &network());
            let fields = [NO_STORE, "Content-Type: application/json\r\n"].concat();
            return self.text(Status::OK, &fields, &text);
        }
        match site.find(path) {
            Found::Page(page) => self.page(request, page),
            Found::Folder => self.moved(&target::encode(&alloc::format!("{path}/"), query)),
            Found::Nothing => self.not_found(site),
        }
    }

    /// Whether a condition of the request does not hold, which is then answered; `fields` are
    /// what caches want to know in any case (RFC 9110 §13.2.2, §15.4.5).
    fn condition_fails(
        &mut self,
        request: &Request<'_, '_>,
        ours: Validators<'_>,
        fields: &str,
    ) -> bool {
        match conditions::check(request, ours) {
            Verdict::Proceed => return false,
            Verdict::NotModified => {
                let mut head = self.head(Status::NOT_MODIFIED);
                head.raw(fields);
                head.end();
            }
            Verdict::Failed => {
                self.error(Status::PRECONDITION_FAILED, "");
            }
        }
        true
    }

    /// A file, or what its conditions and ranges make of it.
    fn page<'a>(&mut self, request: &Request<'_, '_>, page: &Page<'a>) -> &'a [u8] {
        if !request.is_conditional() {
            self.head(Status::OK).raw(page.whole());
            return self.body(page.bytes);
        }
        let ours = page.validators();
        if self.condition_fails(request, ours, page.cache_fields()) {
            return &[];
        }
        // RFC 9110 §14.2: a range counts for GET only.
        let wanted = match request.only("range") {
            Some(value) if self.with_body && conditions::range_counts(request, ours) => {
                range::parse(value, page.bytes.len())
            }
            _ => Wanted::Whole,
        };
        let len = page.bytes.len();
        let body = match wanted {
            Wanted::Whole => {
                self.head(Status::OK).raw(page.whole());
                page.bytes
            }
            Wanted::Part(part) => {
                let (first, last) = (part.start, part.end - 1);
                let mut head = self.head(Status::PARTIAL_CONTENT);
                // A client that has a part of this version knows the rest (§15.3.7).
                head.raw(match request.only("if-range") {
                    Some(_) => page.cache_fields(),
                    None => page.fields(),
                });
                head.line(format_args!("Content-Range: bytes {first}-{last}/{len}"));
                head.line(format_args!("Content-Length: {}", part.len()));
                head.end();
                &page.bytes[part]
            }
            Wanted::Unsatisfiable => {
                let range = alloc::format!("Content-Range: bytes */{len}\r\n");
                return self.error(Status::RANGE_NOT_SATISFIABLE, &range);
            }
        };
        self.body(body)
    }

    /// The page is at this path and query.
    fn moved<'a>(&mut self, place: &str) -> &'a [u8] {
        let location = alloc::format!("Location: {place}\r\n");
        self.error(Status::MOVED_PERMANENTLY, &location)
    }

    /// The site's own page for that, or ours.
    fn not_found<'a>(&mut self, site: &Site<'a>) -> &'a [u8] {
        let Some(page) = site.page("404.html") else {
            return self.error(Status::NOT_FOUND, "");
        };
        let mut head = self.head(Status::NOT_FOUND);
        head.raw("Content-Type: text/html; charset=utf-8\r\n");
        head.line(format_args!("Content-Length: {}", page.bytes.len()));
        head.end();
        self.body(page.bytes)
    }

    /// A status with a page of its own; `fields` are complete lines.
    pub fn error<'a>(&mut self, status: Status, fields: &str) -> &'a [u8] {
        let Status(code) = status;
        let (reason, explanation) = (status.reason(), status.explanation());
        let text = alloc::format!(
            "<!doctype html><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{code} {reason}</title><h1>{code} {reason}</h1><p>{explanation}\n"
        );
        let media = "Content-Type: text/html; charset=utf-8\r\n";
        self.text(status, &[media, fields].concat(), &text)
    }

    fn text<'a>(&mut self, status: Status, fields: &str, text: &str) -> &'a [u8] {
        let mut head = self.head(status);
        head.raw(fields);
        head.line(format_args!("Content-Length: {}", text.len()));
        head.end();
        if self.with_body {
            self.out.extend_from_slice(text.as_bytes());
        }
        &[]
    }

    fn head(&mut self, status: Status) -> Head<'_> {
        self.counters.requests += 1;
        if let Some(count) = self
            .counters
            .responses
            .get_mut(usize::from(status.0 / 100).wrapping_sub(2))
        {
            *count += 1;
        }
        Head::new(self.out, status, self.persistence)
    }

    /// Puts a small body behind its head; returns a large one.
    fn body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut bytes = if self.with_body { bytes } else { &[] };
        if bytes.len() <= INLINE_MAX {
            self.out.extend_from_slice(mem::take(&mut bytes));
        }
        bytes
    }
}
