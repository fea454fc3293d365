//! Which part of a blob a request is about. One part at a time, from a place that is known: anything else is refused.

use axum::http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};

use super::Problem;

/// Where an upload of a blob of `bytes` bytes goes on: the start of `content-range: bytes FIRST-LAST/TOTAL`, 0 without
/// one. An upload always goes to the blob's end.
pub(super) fn upload_offset(headers: &HeaderMap, bytes: u64) -> Result<u64, Problem> {
    let text = match only(headers, CONTENT_RANGE) {
        Ok(None) => return Ok(0),
        other => other.ok().flatten(),
    };
    let parts = text.and_then(|text| {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((number(first)?, number(last)?, number(total)?))
    });
    match parts {
        Some((first, last, total)) if total == bytes && first <= last && last.checked_add(1) == Some(total) => {
            Ok(first)
        }
        Some((first, last, total)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "content-range {first}-{last}/{total} does not go to the end of this blob of {bytes} bytes; \
                 write `bytes FIRST-{}/{bytes}`",
                bytes.saturating_sub(1)
            ),
        )),
        None => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "content-range cannot be read; write one `bytes FIRST-LAST/TOTAL`",
        )),
    }
}

/// Which bytes of a blob of `bytes` bytes are to be sent, from the first to before the second; `None` for all of it.
pub(super) fn download_range(headers: &HeaderMap, bytes: u64) -> Result<Option<(u64, u64)>, Problem> {
    let text = match only(headers, RANGE) {
        Ok(None) => return Ok(None),
        other => other.ok().flatten(),
    };
    let parts = text.and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((number(first)?, if last.is_empty() { u64::MAX } else { number(last)? }))
    });
    match parts {
        Some((0, u64::MAX)) => Ok(None),
        Some((first, last)) if first <= last && first < bytes => Ok(Some((first, last.saturating_add(1).min(bytes)))),
        Some(_) => Err(Problem::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("it has {bytes} bytes; a range must begin before its end, and end after its beginning"),
        )),
        None => Err(Problem::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "one range a request is served; write `bytes=FIRST-` or `bytes=FIRST-LAST`",
        )),
    }
}

/// The text of a header that may be there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match values.next() {
        Some(_) => Err(()),
        None => value.to_str().map(Some).map_err(drop),
    }
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::try_from(*value).unwrap())).collect()
    }

    #[test]
    fn an_upload_goes_on_to_the_end_or_not_at_all() {
        let check = |values: &[&str]| upload_offset(&headers(CONTENT_RANGE, values), 100).map_err(|it| it.status);
        assert_eq!(check(&[]), Ok(0));
        assert_eq!(check(&["bytes 0-99/100"]), Ok(0));
        assert_eq!(check(&["bytes 99-99/100"]), Ok(99));
        for bad in [
            "bytes 10-99/101",
            "bytes 10-98/100",
            "bytes 100-99/100",
            "bytes 10-100/100",
            "bytes -10-99/100",
            "bytes +10-99/100",
            "bytes 10-99/*",
            "bytes */100",
            "bytes 18446744073709551616-99/100",
            "bytes 0-18446744073709551615/0",
            "bytes 10-20,30-99/100",
            "10-99/100",
            "bytes 10-99",
            "",
        ] {
            assert_eq!(check(&[bad]), Err(400), "{bad}");
        }
        assert_eq!(check(&["bytes 10-99/100", "bytes 20-99/100"]), Err(400));
    }

    #[test]
    fn one_range_is_sent_and_no_more() {
        let check = |values: &[&str]| download_range(&headers(RANGE, values), 100).map_err(|it| it.status);
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&["bytes=0-"]), Ok(None));
        assert_eq!(check(&["bytes=99-"]), Ok(Some((99, 100))));
        assert_eq!(check(&["bytes=10-19"]), Ok(Some((10, 20))));
        assert_eq!(check(&["bytes=10-18446744073709551615"]), Ok(Some((10, 100))));
        for bad in [
            "bytes=100-",
            "bytes=20-10",
            "bytes=-10",
            "bytes=--10",
            "bytes=-",
            "bytes=+1-",
            "bytes=0-10,5-20",
            "bytes=0-0,0-0,0-0,0-0",
            "bytes=1-,2-,3-",
            "bytes=18446744073709551616-",
            "bytes=18446744073709551615-",
            "lines=1-2",
            "bytes=0x1-",
            "",
        ] {
            assert_eq!(check(&[bad]), Err(416), "{bad}");
        }
        assert_eq!(check(&["bytes=1-", "bytes=2-"]), Err(416));
        assert_eq!(download_range(&headers(RANGE, &["bytes=0-"]), 0).map_err(|it| it.status), Ok(None));
    }
}
