//! What Wharf promises beyond the lab's grade.

mod counts;
mod defects;
mod echo;
mod filters;
mod igb;
mod messages;
mod raw;
mod system;
mod together;
mod trouble;
mod web;

use crate::suite::Case;

/// The cases, under the headings of the report.
pub const GROUPS: &[(&str, &[Case])] = &[
    ("Echo", echo::CASES),
    ("Raw frames", raw::CASES),
    ("Raw programs", counts::CASES),
    ("Web server", web::CASES),
    ("In the network server", together::CASES),
    ("Trouble", trouble::CASES),
    ("Broken cards", defects::CASES),
    ("The system", system::CASES),
    ("What a user reads", messages::CASES),
    ("The 82576", igb::CASES),
    ("Filters and VLANs", filters::CASES),
];
