//! The list of busy functions, as linker scripts include it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

const HEAD: &str = "\
/* Functions that run for each packet, counted and written by `make placement`: in the order of the
   workloads that need them, and in each first those for all cards. */
";

/// Something that functions are needed for: its place in the order, and its name.
pub type Need = (usize, &'static str);

/// Busy functions, by pattern.
#[derive(Default)]
pub struct Busy(BTreeMap<String, Needs>);

/// What needs a function.
#[derive(Default)]
struct Needs {
    cards: BTreeMap<usize, &'static str>,
    workloads: BTreeMap<usize, &'static str>,
}

impl Busy {
    /// A function, by its symbol, is busy with this card in this workload.
    pub fn add(&mut self, symbol: &str, card: Need, workload: Need) {
        let needs = self.0.entry(pattern(symbol)).or_default();
        needs.cards.extend([card]);
        needs.workloads.extend([workload]);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The lines for a linker script. Behind what the first workload needs they say where that ends.
    pub fn text(&self) -> String {
        let mut functions: Vec<_> = self.0.iter().collect();
        functions.sort_by_cached_key(|(_, needs)| {
            (
                needs.workloads.keys().next(),
                order(&needs.cards),
                order(&needs.workloads),
            )
        });
        let mut text = HEAD.to_owned();
        let mut heading = String::new();
        let mut is_first = true;
        for (pattern, needs) in functions {
            let Some((place, workload)) = needs.workloads.first_key_value() else {
                continue;
            };
            if is_first && *place > 0 {
                text += "__busiest_end = .;\n";
                is_first = false;
            }
            let cards: Vec<&str> = needs.cards.values().copied().collect();
            let own = format!("/* {workload}: {} */\n", cards.join(", "));
            if own != heading {
                text += &own;
                heading = own;
            }
            text += &format!("*(.text.{pattern})\n");
        }
        text
    }
}

/// A key by which those come first that need the first, among these those that need the second...
fn order(needs: &BTreeMap<usize, &'static str>) -> Reverse<u64> {
    Reverse(needs.keys().map(|place| 1 << (63 - place)).sum())
}

/// The pattern of a function's section: its symbol, without what changes with each build, which
/// is the hash and the number that the linker appends.
fn pattern(symbol: &str) -> String {
    let name = symbol.split(".llvm.").next().unwrap_or(symbol);
    let hash = name.len().checked_sub(20).filter(|_| name.ends_with('E'));
    match hash.and_then(|at| name.split_at_checked(at)) {
        Some((path, hash)) if hash.starts_with("17h") => format!("{path}17h*"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_outlives_a_build() {
        let name = "_ZN3net5stack7receive17h0123456789abcdefE";
        assert_eq!(pattern(name), "_ZN3net5stack7receive17h*");
        assert_eq!(
            pattern(&format!("{name}.llvm.42")),
            "_ZN3net5stack7receive17h*"
        );
        assert_eq!(pattern("memcpy"), "memcpy");
        assert_eq!(pattern("__udivti3.llvm.7"), "__udivti3");
    }

    #[test]
    fn what_earlier_workloads_and_more_cards_need_comes_first() {
        let cards = [(0, "e100"), (1, "igb")];
        let [udp, tcp, http] = [(0, "udp"), (1, "tcp"), (2, "http")];
        let mut busy = Busy::default();
        for card in cards {
            busy.add("requests", card, http);
            for workload in [udp, tcp, http] {
                busy.add("all", card, workload);
            }
            busy.add("datagrams_2", card, udp);
            busy.add("datagrams_1", card, udp);
            busy.add("segments", card, tcp);
            busy.add("segments", card, http);
            busy.add("datagrams_3", card, udp);
            busy.add("datagrams_3", card, http);
        }
        busy.add("second", cards[1], udp);
        busy.add("first", cards[0], tcp);
        let lines = [
            "/* udp: e100, igb */",
            "*(.text.all)",
            "*(.text.datagrams_3)",
            "*(.text.datagrams_1)",
            "*(.text.datagrams_2)",
            "/* udp: igb */",
            "*(.text.second)",
            "__busiest_end = .;",
            "/* tcp: e100, igb */",
            "*(.text.segments)",
            "/* tcp: e100 */",
            "*(.text.first)",
            "/* http: e100, igb */",
            "*(.text.requests)\n",
        ];
        assert_eq!(busy.text(), format!("{HEAD}{}", lines.join("\n")));
        assert_eq!(busy.len(), 8);
    }
}
