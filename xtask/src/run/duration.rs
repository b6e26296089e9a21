//! Durations as people write them.

use std::time::Duration;

/// `500ms`, `1.2s`, `20s`, `5m`; a bare number is refused, since nobody could tell its unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let unit_start = text.find(|c: char| c.is_ascii_alphabetic()).ok_or("a unit is missing: ms, s or m")?;
    let (number, unit) = text.split_at(unit_start);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("`{unit}` is no unit: ms, s or m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, milliseconds) in [("500ms", 500), ("1.2s", 1200), ("20s", 20_000), ("5m", 300_000), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "20", "s", "-1s", "1h", "1s5", "1e30s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
