//! What Wharf promises beyond the lab's grade.

mod alike;
mod attack;
mod chat;
mod counts;
pub(crate) mod death;
mod defects;
pub(crate) mod echo;
mod filters;
pub(crate) mod flood;
mod functions;
pub(crate) mod hostile;
mod http_framing;
pub(crate) mod idle;
mod igb;
mod iommu;
mod ipv6;
mod machines;
mod memory;
mod messages;
mod neighbours;
mod raw;
mod segments;
pub(crate) mod stations;
pub(crate) mod system;
pub(crate) mod tenants;
mod together;
pub(crate) mod trouble;
mod verbs;
mod web;

use crate::suite::Case;

/// The cases, under the headings of the report.
pub const GROUPS: &[(&str, &[Case])] = &[
    ("Echo", echo::CASES),
    ("Chat", chat::CASES),
    ("ARP and ICMP", neighbours::CASES),
    ("IPv6", ipv6::CASES),
    ("Many stations", stations::CASES),
    ("TCP segments", segments::CASES),
    ("Floods and forgeries", flood::CASES),
    ("Raw frames", raw::CASES),
    ("Both cards alike", alike::CASES),
    ("Raw programs", counts::CASES),
    ("Web server", web::CASES),
    ("HTTP messages", http_framing::CASES),
    ("In the network server", together::CASES),
    ("Several stacks on a card", tenants::CASES),
    ("Virtual functions", functions::CASES),
    ("Trouble", trouble::CASES),
    ("Memory", memory::CASES),
    ("Broken cards", defects::CASES),
    ("Hostile programs", hostile::CASES),
    ("A server that dies", death::CASES),
    ("Idle connections", idle::CASES),
    ("Attacks", attack::CASES),
    ("The system", system::CASES),
    ("Machines of all kinds", machines::CASES),
    ("Make's verbs", verbs::CASES),
    ("What a user reads", messages::CASES),
    ("The 82576", igb::CASES),
    ("Behind an IOMMU", iommu::CASES),
    ("Filters and VLANs", filters::CASES),
];
