//! Order statistics: medians and percentiles say more than means where one run in ten is
//! disturbed.

/// The middle of the values, or the mean of the two in the middle; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let len = sorted.len();
    let upper = *sorted.get(len / 2)?;
    Some(match len % 2 {
        1 => upper,
        _ => (sorted[len / 2 - 1] + upper) / 2.0,
    })
}

/// The least and the greatest value; `None` of none.
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((*sorted.first()?, *sorted.last()?))
}

/// The value rounded to four digits, which is more than any measurement here is worth.
pub fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Times of single events, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many took longer.
    pub fn longer_than(&self, nanoseconds: u64) -> usize {
        self.0.iter().filter(|time| **time > nanoseconds).count()
    }

    /// The time within which the share `p`, from 0 to 1, of them was done, in nanoseconds;
    /// 0 of none.
    pub fn percentile(&mut self, p: f64) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() as f64 * p) as usize;
        let at = at.min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| *time as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges_do_not_depend_on_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(range(&[4.0, 1.0, 9.0]), Some((1.0, 9.0)));
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn four_digits_are_left() {
        for (value, rounded) in [(41_567.3, 41_570.0), (83.123_456, 83.12), (0.0, 0.0)] {
            assert_eq!(four_digits(value), rounded);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Latencies::default();
        assert_eq!(times.percentile(0.5), 0.0);
        for time in (1..=100).rev() {
            times.push(time);
        }
        assert_eq!(times.count(), 100);
        assert_eq!(times.percentile(0.5), 51.0);
        assert_eq!(times.percentile(0.99), 100.0);
        assert_eq!(times.percentile(0.0), 1.0);
        assert_eq!(times.percentile(1.0), 100.0);
        assert_eq!(times.longer_than(90), 10);
    }
}
