//! What is asked: path and query parameters, checked.

use axum::extract::{FromRequestParts, Query as RawQuery};
use axum::http::request::Parts;
use contracts::{
    classes::HardwareClass,
    ids::{BUCKET_MAX_S, BookId},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::problem::Problem;
use crate::store::schema::Key;

/// Items of a page when the request does not say.
const DEFAULT_LIMIT: usize = 50;
/// Items of a page at most.
pub(super) const MAX_LIMIT: usize = 500;
/// Names of the duration buckets, as [`BookId`] writes them.
const BUCKET_NAMES: [&str; 4] = ["10m", "1h", "6h", "24h"];

/// Query parameters; what cannot be read is a problem document, unknown names too.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RawQuery(query) = RawQuery::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::bad_request(format!("{}; see /openapi.json", error.body_text())))?;
        Ok(Self(query))
    }
}

/// `?preemptible=`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BookQuery {
    /// Whether the book's rentals give way; false when left out.
    pub(super) preemptible: Option<bool>,
}

/// Filters of `/v1/bids`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BidsQuery {
    /// Hardware class: name or number.
    pub(super) class: Option<String>,
    /// Duration bucket: 0 to 3, or 10m, 1h, 6h, 24h.
    pub(super) bucket: Option<String>,
    /// Whether the rental would give way.
    pub(super) preemptible: Option<bool>,
    /// Wallet that pays.
    pub(super) wallet: Option<String>,
    /// Items of a page, 1 to 500; 50 when left out.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Filters of `/v1/offers`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OffersQuery {
    /// Hardware class: name or number.
    pub(super) class: Option<String>,
    /// Provider.
    pub(super) provider: Option<String>,
    /// Whether it takes bids as of this block: neither closed nor past its validity.
    pub(super) open: Option<bool>,
    /// Items of a page, 1 to 500; 50 when left out.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Filters of `/v1/rentals`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RentalsQuery {
    /// Hardware class: name or number.
    pub(super) class: Option<String>,
    /// Status, such as running or settled.
    pub(super) status: Option<String>,
    /// Whether it can still change.
    pub(super) live: Option<bool>,
    /// Wallet that pays.
    pub(super) wallet: Option<String>,
    /// Provider.
    pub(super) provider: Option<String>,
    /// Items of a page, 1 to 500; 50 when left out.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Page of `/v1/providers`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Items of a page, 1 to 500; 50 when left out.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// A class by name or number.
pub(super) fn class(text: &str) -> Result<u8, Problem> {
    if let Ok(number @ 1..=31) = text.parse() {
        return Ok(number);
    }
    text.parse::<HardwareClass>().map(HardwareClass::number).map_err(|error| Problem::bad_request(error.to_string()))
}

/// A bucket by name or number.
pub(super) fn bucket(text: &str) -> Result<u8, Problem> {
    let named = BUCKET_NAMES.iter().position(|name| *name == text).map(|position| position as u8);
    named
        .or_else(|| text.parse().ok().filter(|number| usize::from(*number) < BUCKET_MAX_S.len()))
        .ok_or_else(|| Problem::bad_request(format!("'{text}' is no duration bucket: use 0 to 3, or 10m, 1h, 6h, 24h")))
}

/// Name of a bucket.
pub(super) fn bucket_name(bucket: u8) -> &'static str {
    BUCKET_NAMES[usize::from(bucket) % BUCKET_NAMES.len()]
}

/// Name of a class, or its number where the number has no name.
pub(super) fn class_name(class: u8) -> String {
    HardwareClass::from_number(class).map_or_else(|| class.to_string(), |class| class.name().to_owned())
}

/// Anything that is parsed from text.
pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| Problem::bad_request(format!("{what} '{text}': {error}")))
}

/// [`parse`], where there is something to parse.
pub(super) fn parse_some<T: std::str::FromStr>(what: &str, text: Option<&String>) -> Result<Option<T>, Problem>
where
    T::Err: std::fmt::Display,
{
    text.map(|text| parse(what, text)).transpose()
}

/// Items of a page.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(other) => Err(Problem::bad_request(format!("limit {other} is not between 1 and {MAX_LIMIT}"))),
    }
}

/// The key after which a page begins; it must lie in the list that is asked for.
pub(super) fn cursor(asked: Option<&String>, list: &Key) -> Result<Option<Vec<u8>>, Problem> {
    let Some(text) = asked else { return Ok(None) };
    let key = hex::decode(text).ok().filter(|key| key.len() <= 128 && key.starts_with(list.as_slice()));
    key.map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "cursor '{text}' does not belong to this list: pass next_cursor on unchanged, with the same filters"
        ))
    })
}

/// The book of a class and bucket.
pub(super) fn book(class: u8, bucket: u8, preemptible: bool) -> BookId {
    BookId { class, bucket, preemptible }
}
