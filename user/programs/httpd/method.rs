//! Methods (RFC 9110 §9).

/// What the client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A representation.
    Get,
    /// What [`Method::Get`] would say of it.
    Head,
    /// A tunnel, which nothing here allows; it has targets of its own (RFC 9112 §3.2.3).
    Connect,
    /// What a resource allows, or with `*` the server (RFC 9112 §3.2.4).
    Options,
    /// Another that no resource here allows.
    NotAllowed,
    /// One that we do not know.
    Unknown,
}

impl Method {
    /// The method of that name; upper and lower case differ.
    pub fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            // RFC 9110 §9.3, RFC 5789.
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "POST" | "PUT" | "DELETE" | "TRACE" | "PATCH" => Method::NotAllowed,
            _ => Method::Unknown,
        }
    }
}
