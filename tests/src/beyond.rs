//! What Wharf promises beyond the lab's grade.

mod counts;
mod echo;
mod igb;
mod raw;
mod system;
mod trouble;
mod web;

use crate::suite::Case;

/// The cases, under the headings of the report.
pub const GROUPS: &[(&str, &[Case])] = &[
    ("Echo", echo::CASES),
    ("Raw frames", raw::CASES),
    ("Raw programs", counts::CASES),
    ("Web server", web::CASES),
    ("Trouble", trouble::CASES),
    ("The system", system::CASES),
    ("The 82576", igb::CASES),
];
