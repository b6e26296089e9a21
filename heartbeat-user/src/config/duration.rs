//! Durations as people write them: `1.2s`, `10ms`, `500us`.

use std::fmt::Write as _;

/// Units, largest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Nanoseconds of a text such as `1.2s`; a number, one unit, nothing else.
///
/// # Errors
///
/// Says in words what is wrong: no unit, an unknown one, not a number, or not a whole number of nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if number.is_empty() {
        return Err(format!("`{text}` does not begin with a number"));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit"));
    }
    let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` is not a unit of time"));
    };
    scaled(number, scale).ok_or_else(|| format!("`{number}` is not a number that `{unit}` can count in nanoseconds"))
}

/// The shortest exact text of a duration, in the largest unit that it fills.
#[must_use]
pub fn format_duration_ns(nanoseconds: u64) -> String {
    // Hours and minutes are for reading only: 90 s is better known as 90 s than as 1.5 m.
    let exact_in_large_unit =
        UNITS[..2].iter().find(|(_, scale)| nanoseconds > 0 && nanoseconds.is_multiple_of(*scale));
    let (unit, scale) = exact_in_large_unit
        .or_else(|| UNITS[2..].iter().find(|(_, scale)| nanoseconds >= *scale))
        .copied()
        .unwrap_or(("s", UNITS[2].1));
    let mut text = (nanoseconds / scale).to_string();
    let rest = nanoseconds % scale;
    if rest > 0 {
        let digits = scale.ilog10() as usize;
        let fraction = format!("{rest:0digits$}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "{unit}");
    text
}

/// `number` times `scale`, exactly; digits below a nanosecond, two points and overflow give nothing.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut value = scale;
    for digit in fraction.bytes() {
        let digit = u64::from(digit - b'0');
        if digit != 0 && (value < 10 || !value.is_multiple_of(10)) {
            return None;
        }
        value /= 10;
        total = total.checked_add(digit * value)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("1.2s", 1_200_000_000),
            ("10ms", 10_000_000),
            ("500us", 500_000),
            ("1 ms", 1_000_000),
            ("0.5ms", 500_000),
            ("2m", 120_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("7ns", 7),
            ("0s", 0),
            ("1.000000001s", 1_000_000_001),
            ("1.0000000010s", 1_000_000_001),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for (text, expected) in [
            ("", "does not begin with a number"),
            ("10", "no unit"),
            ("ms", "does not begin with a number"),
            ("-1s", "does not begin with a number"),
            ("10parsec", "`parsec` is not a unit"),
            ("1.2.3s", "is not a number"),
            (".5s", "is not a number"),
            ("5.s", "is not a number"),
            ("0.5ns", "is not a number"),
            ("1.0000000001s", "is not a number"),
            ("1.00000000000001s", "is not a number"),
            ("99999999999999999999s", "is not a number"),
            ("9999999999h", "is not a number"),
        ] {
            let message = parse_duration_ns(text).expect_err(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn writes_the_shortest_exact_text() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (500_000, "500us"),
            (10_000_000, "10ms"),
            (1_200_000_000, "1.2s"),
            (7_350_000_000, "7.35s"),
            (90_000_000_000, "90s"),
            (120_000_000_000, "2m"),
            (3_600_000_000_000, "1h"),
            (1_000_000_001, "1.000000001s"),
        ] {
            assert_eq!(format_duration_ns(nanoseconds), expected);
            assert_eq!(parse_duration_ns(expected), Ok(nanoseconds));
        }
    }
}
