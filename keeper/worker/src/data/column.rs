//! What is learned about one column while its fields pass by.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use super::number::{self, Shape};

/// Distinct values counted exactly per column, and over all columns together.
const MAX_DISTINCT: usize = 10_000;
const MAX_DISTINCT_TOGETHER: usize = 300_000;

/// Numbers kept for the quartiles per column, and over all columns together.
const MAX_KEPT: usize = 8_192;
const MAX_KEPT_TOGETHER: usize = 2_000_000;

/// A longer value is counted by its beginning and its hash.
const MAX_VALUE_BYTES: usize = 64;

const TOP_VALUES: usize = 5;

/// A column is of a type when at least this share of its filled fields is.
const TYPE_PERCENT: u64 = 95;

/// One column in the making.
pub(crate) struct Column {
    name: String,
    filled: u64,
    missing: u64,
    shapes: Shapes,
    moments: Moments,
    kept: Reservoir,
    first_and_last: Option<(String, String)>,
    shortest_and_longest: Option<(usize, usize)>,
    values: HashMap<String, u64>,
    max_values: usize,
    overflowed: bool,
}

#[derive(Default)]
struct Shapes {
    boolean: u64,
    integer: u64,
    decimal: u64,
    date: u64,
    date_time: u64,
}

/// One column of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Filled fields.
    pub(crate) count: u64,
    pub(crate) missing: u64,
    /// Filled fields that are not of the column's type.
    pub(crate) nonconforming: u64,
    pub(crate) distinct: u64,
    /// False: there are at least `distinct` values, and the top values are those among the first seen.
    pub(crate) distinct_exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) numbers: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<Length>,
    pub(crate) top_values: Vec<TopValue>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Empty,
    Boolean,
    Integer,
    Decimal,
    Date,
    DateTime,
    Text,
}

/// Of a numeric column. Quartiles are interpolated linearly (type 7 of Hyndman and Fan 1996).
#[derive(Debug, Serialize)]
pub(crate) struct Numbers {
    pub(crate) min: Value,
    pub(crate) q1: Value,
    pub(crate) median: Value,
    pub(crate) q3: Value,
    pub(crate) max: Value,
    pub(crate) mean: Value,
    /// Of a sample (n − 1); absent for a single number.
    pub(crate) stddev: Option<Value>,
    /// False: the quartiles are those of a random sample with a fixed seed.
    pub(crate) quartiles_exact: bool,
}

/// Of a column of dates, inclusive.
#[derive(Debug, Serialize)]
pub(crate) struct Period {
    pub(crate) first: String,
    pub(crate) last: String,
}

/// Of a text column, in characters, inclusive.
#[derive(Debug, Serialize)]
pub(crate) struct Length {
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

/// A frequent value.
#[derive(Debug, Serialize)]
pub(crate) struct TopValue {
    pub(crate) value: String,
    pub(crate) count: u64,
}

impl Column {
    /// Column number `index` of `columns`.
    pub(crate) fn new(name: String, index: usize, columns: usize) -> Self {
        Self {
            name,
            filled: 0,
            missing: 0,
            shapes: Shapes::default(),
            moments: Moments::default(),
            kept: Reservoir::new(index as u64, MAX_KEPT.min(MAX_KEPT_TOGETHER / columns)),
            first_and_last: None,
            shortest_and_longest: None,
            values: HashMap::new(),
            max_values: MAX_DISTINCT.min(MAX_DISTINCT_TOGETHER / columns),
            overflowed: false,
        }
    }

    /// Takes the column's field of the next row.
    pub(crate) fn take(&mut self, field: &str, delimiter: u8) {
        let field = field.trim();
        if number::is_missing(field) {
            self.missing += 1;
            return;
        }
        self.filled += 1;
        self.count_value(field);
        let characters = field.chars().count();
        let (shortest, longest) = self.shortest_and_longest.get_or_insert((characters, characters));
        *shortest = (*shortest).min(characters);
        *longest = (*longest).max(characters);
        match Shape::of(field, delimiter) {
            Shape::Boolean => self.shapes.boolean += 1,
            Shape::Integer(value) => {
                self.shapes.integer += 1;
                self.take_number(value);
            }
            Shape::Decimal(value) => {
                self.shapes.decimal += 1;
                self.take_number(value);
            }
            Shape::Date(key) => {
                self.shapes.date += 1;
                self.take_date(key);
            }
            Shape::DateTime(key) => {
                self.shapes.date_time += 1;
                self.take_date(key);
            }
            Shape::Word => {}
        }
    }

    /// Takes a row that ends before this column.
    pub(crate) const fn take_absent(&mut self) {
        self.missing += 1;
    }

    fn take_number(&mut self, value: f64) {
        self.moments.take(value);
        self.kept.take(value);
    }

    fn take_date(&mut self, key: String) {
        match &mut self.first_and_last {
            None => self.first_and_last = Some((key.clone(), key)),
            Some((first, _)) if key < *first => *first = key,
            Some((_, last)) if key > *last => *last = key,
            Some(_) => {}
        }
    }

    fn count_value(&mut self, field: &str) {
        if field.len() <= MAX_VALUE_BYTES {
            if let Some(count) = self.values.get_mut(field) {
                *count += 1;
                return;
            }
            return self.count_new(field.to_owned());
        }
        let hash = hex::encode(&Sha256::digest(field)[..16]);
        // The NUL cannot occur in a field, so the beginning can be cut off again.
        let key = format!("{}…\0{hash}", &field[..field.floor_char_boundary(MAX_VALUE_BYTES - 16)]);
        match self.values.get_mut(&key) {
            Some(count) => *count += 1,
            None => self.count_new(key),
        }
    }

    fn count_new(&mut self, key: String) {
        if self.values.len() < self.max_values {
            self.values.insert(key, 1);
        } else {
            self.overflowed = true;
        }
    }

    /// Everything known at the end.
    pub(crate) fn finish(self) -> Summary {
        let (kind, conforming) = self.kind();
        let numeric = matches!(kind, Kind::Integer | Kind::Decimal);
        let mut top: Vec<(String, u64)> = self.values.into_iter().collect();
        let distinct = top.len() as u64 + u64::from(self.overflowed);
        top.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        top.truncate(TOP_VALUES);
        Summary {
            name: self.name,
            kind,
            count: self.filled,
            missing: self.missing,
            nonconforming: self.filled - conforming,
            distinct,
            distinct_exact: !self.overflowed,
            numbers: numeric.then(|| numbers(&self.moments, self.kept, kind == Kind::Integer)),
            period: self
                .first_and_last
                .filter(|_| matches!(kind, Kind::Date | Kind::DateTime))
                .map(|(first, last)| Period { first, last }),
            length: self
                .shortest_and_longest
                .filter(|_| kind == Kind::Text)
                .map(|(shortest, longest)| Length { shortest, longest }),
            top_values: top.into_iter().map(|(value, count)| TopValue { value: shown(&value), count }).collect(),
        }
    }

    /// The narrowest type that enough filled fields are of, and how many are.
    fn kind(&self) -> (Kind, u64) {
        let shapes = &self.shapes;
        let candidates = [
            (Kind::Boolean, shapes.boolean),
            (Kind::Integer, shapes.integer),
            (Kind::Decimal, shapes.integer + shapes.decimal),
            (Kind::Date, shapes.date),
            (Kind::DateTime, shapes.date + shapes.date_time),
        ];
        if self.filled == 0 {
            return (Kind::Empty, 0);
        }
        // A single decimal makes a column of integers one of decimals, however rare it is.
        let enough = |(kind, count): &(Kind, u64)| {
            *count * 100 >= self.filled * TYPE_PERCENT
                && !(*kind == Kind::Integer && shapes.decimal > 0)
                && !(*kind == Kind::Date && shapes.date_time > 0)
        };
        candidates.into_iter().find(enough).unwrap_or((Kind::Text, self.filled))
    }
}

/// A value as the result shows it: without the hash of its rest.
fn shown(key: &str) -> String {
    key.split_once('\0').map_or(key, |(beginning, _)| beginning).to_owned()
}

fn numbers(moments: &Moments, kept: Reservoir, integers: bool) -> Numbers {
    let exact = kept.is_complete();
    let sorted = kept.sorted();
    Numbers {
        min: json(moments.min, integers),
        q1: json(quantile(&sorted, 1), false),
        median: json(quantile(&sorted, 2), false),
        q3: json(quantile(&sorted, 3), false),
        max: json(moments.max, integers),
        mean: json(moments.mean, false),
        stddev: moments.stddev().map(|stddev| json(stddev, false)),
        quartiles_exact: exact,
    }
}

/// Integers as integers; everything else rounded to 12 significant digits, so that sums like 0.1 + 0.2 read well.
fn json(value: f64, integer: bool) -> Value {
    if integer && value.abs() < 9_007_199_254_740_992.0 {
        return Value::from(value as i64);
    }
    let rounded = format!("{value:.11e}").parse().unwrap_or(value);
    Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}

/// Quartile `quarter` (1 to 3) of sorted, non-empty numbers.
fn quantile(sorted: &[f64], quarter: usize) -> f64 {
    let steps = (sorted.len() - 1) * quarter;
    let (low, rest) = (steps / 4, steps % 4);
    match sorted.get(low + 1) {
        Some(high) if rest > 0 => sorted[low] + (high - sorted[low]) * (rest as f64 / 4.0),
        _ => sorted[low],
    }
}

/// Mean and variance in one pass (Welford 1962).
#[derive(Default)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    fn take(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn stddev(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }
}

/// A uniform sample of a stream (Vitter 1985, algorithm R) with a seed of its own, so that a run can be repeated.
struct Reservoir {
    kept: Vec<f64>,
    capacity: usize,
    seen: u64,
    state: u64,
}

impl Reservoir {
    const fn new(seed: u64, capacity: usize) -> Self {
        Self { kept: Vec::new(), capacity, seen: 0, state: seed }
    }

    fn take(&mut self, value: f64) {
        self.seen += 1;
        if self.kept.len() < self.capacity {
            self.kept.push(value);
            return;
        }
        // The bias of the remainder is below 2^-30 for any table that fits the size limit.
        let place = self.random() % self.seen;
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
            *slot = value;
        }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    const fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn is_complete(&self) -> bool {
        self.seen == self.kept.len() as u64
    }

    fn sorted(mut self) -> Vec<f64> {
        self.kept.sort_unstable_by(f64::total_cmp);
        self.kept
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn column<'a>(fields: impl IntoIterator<Item = &'a str>) -> Summary {
        let mut column = Column::new("c".to_owned(), 0, 1);
        fields.into_iter().for_each(|field| column.take(field, b','));
        column.finish()
    }

    fn check(fields: &[&str], kind: Kind, nonconforming: u64) {
        let got = column(fields.iter().copied());
        assert_eq!((got.kind, got.nonconforming), (kind, nonconforming), "{fields:?}");
    }

    #[test]
    fn types_are_the_narrowest_that_fit() {
        check(&["1", "2"], Kind::Integer, 0);
        check(&["1", "2.5", "NA"], Kind::Decimal, 0);
        check(&["yes", "No"], Kind::Boolean, 0);
        check(&["2024-01-01"], Kind::Date, 0);
        check(&["2024-01-01", "2024-01-01T10:00"], Kind::DateTime, 0);
        check(&["1", "x"], Kind::Text, 0);
        check(&["", "NA"], Kind::Empty, 0);
        let mostly: Vec<&str> = std::iter::repeat_n("7", 19).chain(["x"]).collect();
        check(&mostly, Kind::Integer, 1);
    }

    #[test]
    fn moments_and_quartiles_are_those_of_the_textbook() {
        let got = column(["2", "4", "4", "4", "5", "5", "7", "9"]).numbers.unwrap();
        assert_eq!((got.min, got.max), (Value::from(2), Value::from(9)));
        assert_eq!((got.q1, got.median, got.q3), (Value::from(4.0), Value::from(4.5), Value::from(5.5)));
        assert_eq!((got.mean, got.stddev), (Value::from(5.0), Some(Value::from(2.138_089_935_3))));
        assert!(got.quartiles_exact);
        let one = column(["0.1"]).numbers.unwrap();
        assert_eq!((one.median, one.stddev), (Value::from(0.1), None));
    }

    #[test]
    fn beyond_the_bounds_the_result_says_so() {
        let fields: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
        let got = column(fields.iter().map(String::as_str));
        assert_eq!((got.distinct, got.distinct_exact), (MAX_DISTINCT as u64 + 1, false));
        let numbers = got.numbers.unwrap();
        assert!(!numbers.quartiles_exact);
        assert_eq!(numbers.max, Value::from(49_999));
        let median = numbers.median.as_f64().unwrap();
        assert!((median - 25_000.0).abs() < 1_500.0, "{median}");
        let again = column(fields.iter().map(String::as_str)).numbers.unwrap();
        assert_eq!(again.median, numbers.median);
    }

    #[test]
    fn long_values_are_told_apart_by_their_ends() {
        let (a, b) = (format!("{}a", "ß".repeat(100)), format!("{}b", "ß".repeat(100)));
        let got = column([a.as_str(), &b, &a]);
        assert_eq!(got.distinct, 2);
        assert_eq!(got.top_values[0].count, 2);
        assert_eq!(got.top_values[0].value, format!("{}…", "ß".repeat(24)));
        assert_eq!((got.length.as_ref().unwrap().shortest, got.length.unwrap().longest), (101, 101));
    }

    #[test]
    fn periods_follow_the_calendar() {
        let got = column(["3.12.2023", "1.2.2024", "2.1.2024"]).period.unwrap();
        assert_eq!((got.first.as_str(), got.last.as_str()), ("2023-12-03", "2024-02-01"));
    }
}
