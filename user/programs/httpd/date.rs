//! Dates as HTTP writes them (RFC 9110 §5.6.7), as seconds since 1970-01-01 UTC.

use core::fmt;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// An IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub struct HttpDate(pub u64);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0 / 86_400;
        let (year, month, day) = civil(days);
        let second = self.0 % 86_400;
        // 1970-01-01 was a Thursday.
        let weekday = DAYS[(days as usize + 3) % 7];
        let month = MONTHS[month as usize - 1];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        )
    }
}

/// Year, month (1 to 12) and day of the month of a day counted from 1970-01-01.
///
/// Counts in years that begin on 1 March, so that the leap day is the last; 400 years
/// have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`]; the date exists and is not before 1970.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year / 400 * 146_097 + day_of_era - 719_468
}

/// Reads any of the three formats that a recipient must accept: IMF-fixdate, RFC 850
/// (`Sunday, 06-Nov-94 08:49:37 GMT`) and asctime (`Sun Nov  6 08:49:37 1994`). `None` if
/// it is no date, or before 1970. The name of the day is not checked against the date.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(text).ok()?.trim_ascii();
    let mut words = text.split_ascii_whitespace();
    let weekday = words.next()?;
    let (day, month, year, time) = if let Some(name) = weekday.strip_suffix(',') {
        let date = words.next()?;
        let (day, month, year) = match date.split_once('-') {
            Some((day, rest)) if name.len() > 3 => {
                let (month, year) = rest.split_once('-')?;
                let year = number(year, 2)?;
                // Two digits and no clock to compare with: this century up to 69.
                (
                    day,
                    month,
                    if year < 70 { 2000 + year } else { 1900 + year },
                )
            }
            _ => (date, words.next()?, number(words.next()?, 4)?),
        };
        let time = words.next()?;
        if words.next()? != "GMT" {
            return None;
        }
        (number(day, 2)?, month, year, time)
    } else {
        let month = words.next()?;
        let day = words.next()?;
        let time = words.next()?;
        (
            number(day, day.len().min(2))?,
            month,
            number(words.next()?, 4)?,
            time,
        )
    };
    if words.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=last).contains(&day) {
        return None;
    }
    let mut parts = time.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // 60 is a leap second.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// A number of exactly `digits` decimal digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let right = text.len() == digits && digits > 0 && text.bytes().all(|b| b.is_ascii_digit());
    if right { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9110 §5.6.7.
    const EXAMPLE: u64 = 784_111_777;

    #[test]
    fn the_three_formats_are_the_same_date() {
        assert_eq!(
            HttpDate(EXAMPLE).to_string(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(EXAMPLE), "{text}");
        }
    }

    #[test]
    fn every_day_of_two_centuries_comes_back() {
        let mut previous = (1969, 12, 31);
        for day in 0..73_100 {
            let date = civil(day);
            assert!(date > previous, "{date:?} after {previous:?}");
            let (year, month, of_month) = date;
            assert_eq!(days_of(year, month, of_month), day);
            previous = date;
            let text = HttpDate(day * 86_400 + 86_399).to_string();
            assert_eq!(
                parse(text.as_bytes()),
                Some(day * 86_400 + 86_399),
                "{text}"
            );
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(
            HttpDate(951_782_400).to_string(),
            "Tue, 29 Feb 2000 00:00:00 GMT"
        );
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "now",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Thu, 29 Feb 2001 00:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
    }
}
