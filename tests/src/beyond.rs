//! What Wharf promises beyond the lab's grade.

use crate::suite::Case;

/// The cases, under the headings of the report.
pub const GROUPS: &[(&str, &[Case])] = &[];
