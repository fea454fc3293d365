//! What a field looks like: a number, a date, a truth value or a word.

/// The shape of one filled field.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape {
    Boolean,
    Integer(f64),
    Decimal(f64),
    /// With a key that sorts as the calendar does: `YYYY-MM-DD`.
    Date(String),
    /// ISO 8601 with a `T` or a blank; the key keeps the field's own offset.
    DateTime(String),
    Word,
}

impl Shape {
    /// Judges a trimmed field. A decimal comma is possible wherever the comma does not separate fields.
    pub(crate) fn of(field: &str, delimiter: u8) -> Self {
        if ["true", "false", "yes", "no"].iter().any(|word| field.eq_ignore_ascii_case(word)) {
            return Self::Boolean;
        }
        let Some(first) = field.bytes().next().filter(|byte| byte.is_ascii_digit() || b"+-.,".contains(byte)) else {
            return Self::Word;
        };
        if first.is_ascii_digit()
            && let Some(shape) = date(field)
        {
            return shape;
        }
        number(field).or_else(|| if delimiter == b',' { None } else { number_with_comma(field) }).unwrap_or(Self::Word)
    }

    pub(crate) const fn is_word(&self) -> bool {
        matches!(self, Self::Word)
    }
}

/// True for a field that stands for nothing.
pub(crate) fn is_missing(field: &str) -> bool {
    field.is_empty()
        || ["na", "n/a", "#n/a", "nan", "null", "none", "nil", "-"].iter().any(|word| field.eq_ignore_ascii_case(word))
}

fn number(field: &str) -> Option<Shape> {
    let digits = field.strip_prefix(['+', '-']).unwrap_or(field);
    // "007" is a code, and its zeros are part of it.
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    // Rust also parses "inf" and "nan", which are words in a table.
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let value = field.parse::<f64>().ok().filter(|value| value.is_finite())?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(Shape::Integer(value))
    } else {
        Some(Shape::Decimal(value))
    }
}

/// `1234,5` or `1.234,5`.
fn number_with_comma(field: &str) -> Option<Shape> {
    let (whole, fraction) = field.split_once(',')?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut groups = whole.strip_prefix(['+', '-']).unwrap_or(whole).split('.');
    let first = groups.next()?;
    let grouped = whole.contains('.');
    if grouped && (first.is_empty() || first.len() > 3 || groups.any(|group| group.len() != 3)) {
        return None;
    }
    match number(&format!("{}.{fraction}", whole.replace('.', "")))? {
        Shape::Decimal(value) => Some(Shape::Decimal(value)),
        _ => None,
    }
}

/// `YYYY-MM-DD`, the same with a time of day, or `DD.MM.YYYY`.
fn date(field: &str) -> Option<Shape> {
    if let Some((day, rest)) = field.split_once('.')
        && let Some((month, year)) = rest.split_once('.')
    {
        let key = calendar_day(part(year, 4..=4)?, part(month, 1..=2)?, part(day, 1..=2)?)?;
        return Some(Shape::Date(key));
    }
    let mut parts = field.get(..10)?.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let key = calendar_day(part(year, 4..=4)?, part(month, 2..=2)?, part(day, 2..=2)?)?;
    match field.get(10..)? {
        "" => Some(Shape::Date(key)),
        time => {
            time_of_day(time.strip_prefix(['T', 't', ' '])?).then(|| Shape::DateTime(format!("{key}T{}", &time[1..])))
        }
    }
}

/// `HH:MM`, `HH:MM:SS` with any fraction, and `Z` or an offset.
fn time_of_day(time: &str) -> bool {
    let clock = time.strip_suffix(['Z', 'z']).unwrap_or(time);
    let clock = match clock.rfind(['+', '-']) {
        Some(at) => {
            let offset = clock[at + 1..].replace(':', "");
            if part(&offset, 4..=4).is_none() && part(&offset, 2..=2).is_none() {
                return false;
            }
            &clock[..at]
        }
        None => clock,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':').map(|text| part(text, 2..=2));
    let in_range = |value: Option<Option<u32>>, end: u32| matches!(value, Some(Some(value)) if value < end);
    in_range(parts.next(), 25)
        && in_range(parts.next(), 60)
        && parts.next().is_none_or(|second| in_range(Some(second), 61))
        && parts.next().is_none()
        && part(fraction, 1..=9).is_some()
}

fn part(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    if digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn calendar_day(year: u32, month: u32, day: u32) -> Option<String> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    (1..=days).contains(&day).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, delimiter: u8, expect: Shape) {
        assert_eq!(Shape::of(field, delimiter), expect, "{field:?}");
    }

    #[test]
    fn numbers() {
        check("42", b',', Shape::Integer(42.0));
        check("-7", b',', Shape::Integer(-7.0));
        check("+0", b',', Shape::Integer(0.0));
        check("3.5e-2", b',', Shape::Decimal(0.035));
        check(".5", b',', Shape::Decimal(0.5));
        for word in ["007", "inf", "nan", "-inf", "1e999", "1,5", "-", "+", ".", "1_000", "0x10", "12a"] {
            check(word, b',', Shape::Word);
        }
    }

    #[test]
    fn decimal_commas_where_the_comma_is_free() {
        check("1,5", b';', Shape::Decimal(1.5));
        check("-1.234.567,89", b';', Shape::Decimal(-1_234_567.89));
        check("12.34,5", b';', Shape::Word);
        check("1,2,3", b';', Shape::Word);
        check(",5", b';', Shape::Decimal(0.5));
    }

    #[test]
    fn dates_and_times() {
        check("2024-02-29", b',', Shape::Date("2024-02-29".to_owned()));
        check("2023-02-29", b',', Shape::Word);
        check("7.3.2024", b',', Shape::Date("2024-03-07".to_owned()));
        check("2024-01-02T03:04:05.678+01:00", b',', Shape::DateTime("2024-01-02T03:04:05.678+01:00".to_owned()));
        check("2024-01-02 03:04", b',', Shape::DateTime("2024-01-02T03:04".to_owned()));
        check("2024-01-02T03:04:05Z", b',', Shape::DateTime("2024-01-02T03:04:05Z".to_owned()));
        check("2024-01-02T99:04", b',', Shape::Word);
        check("2024-01-02x", b',', Shape::Word);
        check("2024-01-0é", b',', Shape::Word);
    }

    #[test]
    fn truth_and_absence() {
        check("Yes", b',', Shape::Boolean);
        check("yesterday", b',', Shape::Word);
        assert!(["", "NA", "n/a", "NULL", "-"].into_iter().all(is_missing));
        assert!(!is_missing("0"));
    }
}
