//! The files of one directory, each with its head made in advance.

use std::collections::HashMap;
use std::io::Error;
use std::path::Path;

/// One answer, with its connection kept or closed.
#[derive(Debug)]
pub struct Answer {
    keep: Vec<u8>,
    close: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, body: Vec<u8>) -> Answer {
        let head = |connection| {
            let len = body.len();
            format!(
                "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nContent-Type: text/html\r\n\
                 Connection: {connection}\r\n\r\n"
            )
            .into_bytes()
        };
        Answer {
            keep: head("keep-alive"),
            close: head("close"),
            body,
        }
    }

    /// The status line and headers.
    pub fn head(&self, keep: bool) -> &[u8] {
        if keep { &self.keep } else { &self.close }
    }
}

/// All answers of a server.
#[derive(Debug)]
pub struct Site {
    files: HashMap<String, Answer>,
    not_found: Answer,
}

impl Site {
    /// Takes the files of a directory, not of those below it, into memory.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn load(directory: &Path) -> Result<Site, Error> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((name, std::fs::read(entry.path())?));
            }
        }
        Ok(Site::new(files))
    }

    /// Serves these: names, and what they hold.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Site {
        let answer = |(name, body)| (format!("/{name}"), Answer::new("200 OK", body));
        Site {
            files: files.into_iter().map(answer).collect(),
            not_found: Answer::new("404 Not Found", Vec::new()),
        }
    }

    /// The answer for a request's target.
    pub fn answer(&self, target: &str) -> &Answer {
        let target = if target == "/" { "/index.html" } else { target };
        self.files.get(target).unwrap_or(&self.not_found)
    }
}
